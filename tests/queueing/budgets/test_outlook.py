"""What is left: the strictest budget's answer in one sentence, on every page that has it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.utils import timezone
from rest_framework.test import APIClient

from approvals.models import ApprovalRule
from jobs.costs import ledger
from jobs.models import Job, Organization, ProviderConfig
from jobs.roles import Role
from queueing.budgets.outlook import BudgetReader, Outlook
from queueing.budgets.periods import window
from queueing.models import QueueEntry
from queueing.waiting.explain import Explainer
from tests.factories import make_user
from tests.queueing.budgets.spending import budget_of
from tests.settings_pages import ACME, browser_of, text_of

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def month() -> str:
    return window("month", "UTC", timezone.now()).name


def cost(amount: str | None) -> Any:
    return {"estimated_cost_usd": None if amount is None else Decimal(amount)}


def test_without_a_budget_nothing_is_said(make_job: MakeJob, alice: User, acme: Organization) -> None:
    budget_of(Organization.objects.create(name="third"), "1")
    reader = BudgetReader(alice)
    assert reader.of_job(make_job(**cost("31"))) is None
    assert reader.of_organization(acme) is None


def test_the_strictest_budget_answers(make_job: MakeJob, alice: User, acme: Organization) -> None:
    budget_of(acme, "500")
    budget_of(acme, "100", user=alice)
    ledger.reserve([make_job(**cost("40"))])
    outlook = BudgetReader(alice).of_job(make_job(**cost("31")))
    assert outlook is not None
    assert outlook.sentence == f"Budget of alice in acme for {month()}: $60 of $100 left; this job needs about $31."
    assert outlook.left == 60
    assert not outlook.would_wait


def test_a_job_that_has_begun_needs_no_more(make_job: MakeJob, alice: User, acme: Organization) -> None:
    budget_of(acme, "100")
    job = make_job(status="running", **cost("80"))
    ledger.reserve([job])
    outlook = BudgetReader(alice).of_job(job)
    assert outlook is not None
    assert (outlook.sentence, outlook.would_wait) == (f"Budget of acme for {month()}: $20 of $100 left.", False)


def test_what_would_wait_says_so(make_job: MakeJob, alice: User, acme: Organization) -> None:
    budget_of(acme, "30")
    outlook = BudgetReader(alice).of_job(make_job(**cost("31")))
    assert outlook is not None
    assert outlook.would_wait
    assert outlook.sentence.startswith(
        f"Budget of acme for {month()}: $0.00 of $30 committed, this job needs about $31."
    )


def test_sums_of_the_site_and_of_others_are_not_told(
    make_job: MakeJob, alice: User, bob: User, root: User, acme: Organization
) -> None:
    budget_of(None, "50")
    job, dear = make_job(**cost("31")), make_job(**cost("310"))
    for user in (alice, bob):
        outlook = BudgetReader(user).of_job(job)
        assert outlook is not None
        assert (outlook.sentence, outlook.left) == (f"Budget of the site for {month()}: enough is left.", None)
        outlook = BudgetReader(user).of_job(dear)
        assert outlook is not None
        assert "$50" not in outlook.sentence
    outlook = BudgetReader(root).of_job(job)
    assert outlook is not None
    assert outlook.left == 50
    budget_of(acme, "40", user=alice)
    for user, left in ((alice, 40), (bob, None), (root, 40)):
        outlook = BudgetReader(user).of_job(job)
        assert outlook is not None
        assert outlook.left == left
        assert ("$40" in outlook.sentence) == (left is not None)


def test_others_do_not_read_a_persons_sums_in_the_queue(
    enqueue: Callable[..., QueueEntry], acme: Organization, alice: User, bob: User
) -> None:
    budget_of(acme, "20", user=alice)
    entry = enqueue(**cost("31"))
    assert "$0.00 of $20 committed" in Explainer(alice, [entry]).reason(entry)
    assert "$20" not in Explainer(bob, [entry]).reason(entry)
    assert "$20" not in Explainer(None, [entry]).reason(entry)


def test_an_unknown_cost_is_held_for_an_admin(make_job: MakeJob, alice: User, acme: Organization) -> None:
    budget_of(acme, "500")
    ProviderConfig.objects.create(name="scripted", cost_per_second={"gpu": 0.01})
    sentences = {}
    for hardware in ("gpu", "odd", ""):
        job = make_job(provider="scripted", hardware_profile=hardware, config={}, **cost(None))
        outlook = BudgetReader(alice).of_job(job)
        assert outlook is not None
        assert (outlook.would_wait, outlook.price_address) == (True, "")
        sentences[hardware] = outlook.sentence.partition(": ")[2]
    assert sentences == {
        "gpu": "the cost of this job is not known, so it waits. It starts once an admin sets a cost limit for it "
        "(max_cost_usd).",
        "odd": "odd has no price, so this job waits until a superuser sets one.",
        "": "the default hardware of scripted has no price, so this job waits until a superuser sets one.",
    }


def test_a_superuser_is_led_to_where_the_price_is_set(
    make_job: MakeJob, enqueue: Callable[..., QueueEntry], root: User, alice: User, acme: Organization
) -> None:
    budget_of(acme, "500")
    entry = enqueue(provider="replicate", hardware_profile="odd", **cost(None))
    ProviderConfig.objects.create(name="replicate")
    link = "/admin/jobs/providerconfig/replicate/change/"
    for user, is_led in ((root, True), (alice, False)):
        page = browser_of(user).get(f"/jobs/{entry.job_id}").content.decode()
        assert "odd has no price, so this job waits until a superuser sets one." in page
        assert (f'href="{link}"' in page) is is_led
    assert browser_of(root).get(link).status_code == 200
    undeclared = BudgetReader(root).of_job(make_job(provider="other", hardware_profile="odd", **cost(None)))
    assert undeclared is not None
    assert (undeclared.price_address, undeclared.unpriced) == ("/admin/jobs/providerconfig/add/?name=other", "odd")
    priced = BudgetReader(root).of_job(make_job(provider="replicate", hardware_profile="odd", **cost("2")))
    assert priced is not None
    assert priced.price_address == ""


def test_a_dry_run_says_what_is_left(client_of: Callable[..., APIClient], alice: User, acme: Organization) -> None:
    ProviderConfig.objects.update_or_create(
        name="replicate", defaults={"cost_per_second": {"h100": 0.01}, "seconds_per_step": 1.0}
    )

    def dry_run(**more: Any) -> Any:
        body = {"config": {"max_train_steps": 1000}, "hardware_profile": "h100", "dry_run": True, **more}
        answer = client_of(alice).post("/api/cloud/jobs/submit?provider=replicate", body, format="json")
        assert answer.status_code == 200, answer.json()
        return answer.json()

    assert dry_run()["budget"] is None
    budget = budget_of(acme, "500")
    answer = dry_run()
    assert answer["budget"]["left_usd"] == 500
    assert not answer["budget"]["would_wait"]
    assert "$500 of $500 left; this job needs about $10" in answer["budget"]["sentence"]
    assert "not known" not in (answer["waiting_reason"] or "")
    budget.amount = Decimal(5)
    budget.save()
    answer = dry_run()
    assert answer["budget"]["would_wait"]
    assert answer["waiting_reason"] == answer["budget"]["sentence"] or answer["requires_approval"]
    assert not dry_run(max_cost_usd=4)["budget"]["would_wait"]


def test_approval_requests_show_what_is_left(
    client_of: Callable[..., APIClient], alice: User, bob: User, acme: Organization
) -> None:
    ApprovalRule.objects.create(name="all", organization=acme, provider="local")
    body = {"config": {"max_train_steps": 10}, "hardware_profile": "cpu"}
    job = client_of(alice).post("/api/cloud/jobs/submit?provider=local", body, format="json").json()
    Job.objects.filter(pk=job["job_id"]).update(estimated_cost_usd=31)
    maria = make_user("maria", acme, Role.ADMIN)
    maria.is_staff = True
    maria.save()
    page = f"/admin/approvals/approvalrequest/{job['approval_id']}/change/"
    assert "No budget limits this job." in text_of(browser_of(maria).get("/approvals"))
    assert "No budget limits this job." in text_of(browser_of(maria).get(page))
    budget = budget_of(acme, "100")
    sentence = f"Budget of acme for {month()}: $100 of $100 left; this job needs about $31."
    assert sentence in text_of(browser_of(maria).get("/approvals"))
    assert sentence in text_of(browser_of(maria).get(page))
    chosen = {"action": "approve_selected", "_selected_action": [job["approval_id"]]}
    several = browser_of(maria).post("/admin/approvals/approvalrequest/", chosen)
    assert f"Budget of acme for {month()}: $100 of $100 left." in text_of(several)
    budget.amount = Decimal(20)
    budget.save()
    assert f"If approved, the job waits. Budget of acme for {month()}: $0.00 of $20" in text_of(
        browser_of(maria).get("/approvals")
    )


def test_a_price_that_the_text_beside_it_lacks_too_is_named_once() -> None:
    outlook = Outlook("odd has no price, so this job waits.", None, would_wait=True, unpriced="odd")
    beside = ("there is no price for odd.", "It is costly.")
    texts = [render_to_string("queueing/budgets/_outlook.html", {"outlook": outlook, "said": said}) for said in beside]
    assert ["odd has no price" in text for text in texts] == [False, True]
    assert all("If approved, the job waits" in text for text in texts)


def test_the_job_page_shows_its_approver_the_cost_the_limit_and_what_is_left(
    client_of: Callable[..., APIClient], alice: User, bob: User, acme: Organization
) -> None:
    ApprovalRule.objects.create(name="all", organization=acme, provider="local")
    body = {"config": {"max_train_steps": 10}, "hardware_profile": "cpu", "max_cost_usd": 60}
    job = client_of(alice).post("/api/cloud/jobs/submit?provider=local", body, format="json").json()
    page = f"/jobs/{job['job_id']}"
    assert "No budget limits this job." in text_of(browser_of(bob).get(page))
    Job.objects.filter(pk=job["job_id"]).update(estimated_cost_usd=32, estimate_source="from 7 runs")
    budget_of(acme, "100")
    panel = text_of(browser_of(bob).get(page)).partition("All jobs from all")[0]
    assert "Cost about $32.00 from 7 runs" in panel
    assert "Up to $60.00" in panel
    assert f"Budget of acme for {month()}: $100 of $100 left; this job needs about $32." in panel
    assert "An approval proposes up to $40.00." in panel
    approved = client_of(bob).post(f"/api/approvals/{job['approval_id']}/approve", {"up_to_usd": 50}, format="json")
    assert approved.status_code == 200, approved.json()
    panel = text_of(browser_of(bob).get(page))
    assert "proposes up to" not in panel


def test_the_settings_say_what_the_organization_has_left(acme: Organization, alice: User, make_job: MakeJob) -> None:
    budget_of(acme, "100")
    ledger.reserve([make_job(**cost("40"))])
    assert f"Budget of acme for {month()}: $60 of $100 left." in text_of(browser_of(alice).get(f"{ACME}/budgets"))
