"""The pages of budgets: who sees which, and who makes, changes and removes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from cloudtrain_site.audit.models import AuditRecord
from jobs.costs import ledger
from jobs.models import Job, Organization
from jobs.roles import Role
from queueing.budgets import watch
from queueing.models import Budget, QueueEntry
from tests.factories import make_user
from tests.queueing.budgets.spending import budget_of, spend
from tests.settings_pages import ACME, browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
Enqueue = Callable[..., QueueEntry]
MakeJob = Callable[..., Job]


@pytest.fixture
def maria(acme: Organization) -> User:
    """An admin of acme."""
    return make_user("maria", acme, Role.ADMIN)


def fields(budget: Budget, **changes: Any) -> dict[str, Any]:
    """What the form of the budget's page sends."""
    thresholds = ", ".join(map(str, budget.thresholds))
    sent = {"amount": budget.amount, "action": budget.action, "thresholds": thresholds, "version": budget.version}
    return {**sent, **changes}


def page_of(budget: Budget) -> str:
    return f"/budgets/{budget.pk}"


def confirmed_in(response: Any) -> str:
    """The amount that the page's form would confirm; empty: none."""
    found = re.search(r'name="confirm"\s+value="([^"]*)"', response.content.decode())
    return found.group(1) if found else ""


def version_in(response: Any) -> str:
    found = re.search(r'name="version"\s+value="(\d*)"', response.content.decode())
    assert found is not None
    return found.group(1)


def test_the_list_shows_the_budgets_that_concern_the_reader(
    acme: Organization, alice: User, bob: User, charlie: User, maria: User, root: User
) -> None:
    budget_of(None, "9000")
    budget_of(acme, "500")
    budget_of(acme, "50", user=alice)
    seen = {name: text_of(browser_of(user).get("/budgets")) for name, user in locals().items() if type(user) is User}
    assert [name for name in seen if "the site" in seen[name]] == ["root"]
    assert [name for name in seen if "$500 each month" in seen[name]] == ["alice", "bob", "maria", "root"]
    assert [name for name in seen if "alice in acme" in seen[name]] == ["alice", "maria", "root"]
    assert "No budget applies to your jobs" in seen["charlie"]
    assert [name for name in seen if "New budget" in seen[name]] == ["charlie", "maria", "root"]


def test_another_organizations_budget_is_not_there(acme: Organization, charlie: User, bob: User, alice: User) -> None:
    budget, own = budget_of(acme, "500"), budget_of(acme, "50", user=alice)
    for reader, one in ((charlie, budget), (charlie, own), (bob, own)):
        browser = browser_of(reader)
        assert browser.get(page_of(one)).status_code == 404
        assert browser.post(page_of(one), fields(one, amount="1")).status_code == 404
        assert browser.post(f"{page_of(one)}/remove", {"stamp": "x"}).status_code == 404
    assert browser_of(charlie).get("/budgets/4711").status_code == 404
    assert sorted(Budget.objects.values_list("amount", flat=True)) == [50, 500]


def test_members_look_and_change_nothing(acme: Organization, bob: User) -> None:
    budget, browser = budget_of(acme, "500"), browser_of(bob)
    page = browser.get(page_of(budget))
    assert "Change it" not in text_of(page)
    assert "Budget of acme" in text_of(page)
    assert browser.post(page_of(budget), fields(budget, amount="1")).status_code == 403
    assert browser.post("/budgets/new", {"organization": "acme", "amount": "1"}).status_code == 403
    assert Budget.objects.get().amount == 500


def test_a_budgets_page_says_what_is_committed_and_when_thresholds_were_reached(
    acme: Organization, bob: User, make_job: MakeJob
) -> None:
    budget = budget_of(acme, "100")
    spend(make_job, "85")
    ledger.reserve([make_job(estimated_cost_usd=Decimal(5))])
    watch.watch()
    page = text_of(browser_of(bob).get(page_of(budget)))
    assert "$90 of $100 committed: $85 spent, $5 reserved for started jobs, $10 left." in page
    assert re.search(r"80 % \$80 \d+ \w+ \d{4}, \d\d:\d\d UTC 100 % \$100 not in this period", page)


def test_it_forecasts_the_month(acme: Organization, bob: User, make_job: MakeJob) -> None:
    budget, lifelong = budget_of(acme, "100"), budget_of(acme, "500", period="lifetime")
    spend(make_job, "40")
    assert "at the pace of the last 7 days" in text_of(browser_of(bob).get(page_of(budget)))
    assert "at the pace of" not in text_of(browser_of(bob).get(page_of(lifelong)))


def test_it_names_the_jobs_that_wait_because_of_it(enqueue: Enqueue, acme: Organization, bob: User) -> None:
    budget = budget_of(acme, "10")
    for name, cost in (("dear", Decimal(30)), ("cheap", Decimal(3)), ("unpriced", None), ("free", Decimal(0))):
        enqueue(config_name=name, estimated_cost_usd=cost)
    page = text_of(browser_of(bob).get(page_of(budget)))
    waiting = page.partition("Jobs waiting for this budget")[2]
    assert [name for name in ("dear", "cheap", "unpriced", "free") if name in waiting] == ["dear", "unpriced"]
    assert "$30.00" in waiting


def test_an_admin_makes_changes_and_removes_a_budget(acme: Organization, maria: User, alice: User) -> None:
    browser = browser_of(maria)
    assert 'value="acme" selected' in browser.get("/budgets/new?organization=acme").content.decode()
    made = browser.post(
        "/budgets/new",
        {"organization": "acme", "person": "alice", "amount": "40.5", "period": "month", "action": "finish",
         "thresholds": "90 50 %, 50"},
        follow=True,
    )  # fmt: skip
    assert "Budget of alice in acme created." in text_of(made)
    budget = Budget.objects.get()
    assert (budget.scope, budget.user, budget.amount, budget.thresholds) == ("user", alice, Decimal("40.5"), [50, 90])
    changed = browser.post(page_of(budget), fields(budget, amount="60", thresholds=""), follow=True)
    assert "Budget saved." in text_of(changed)
    assert "$40.50 → $60.00" in text_of(changed)
    budget.refresh_from_db()
    assert (int(budget.amount), budget.thresholds, budget.version) == (60, list[int](), 2)
    assert "No changes." in text_of(browser.post(page_of(budget), fields(budget), follow=True))
    stamp = re.search(r'name="stamp" value="(\w+)"', browser.get(page_of(budget)).content.decode())
    assert stamp is not None
    removed = browser.post(f"{page_of(budget)}/remove", {"stamp": stamp.group(1)}, follow=True)
    assert "The budget of alice in acme was removed" in text_of(removed)
    assert list(AuditRecord.objects.order_by("pk").values_list("action", "actor")) == [
        ("budget_made", "maria"), ("budget_changed", "maria"), ("budget_removed", "maria"),
    ]  # fmt: skip


def test_the_sites_budget_is_a_superusers(root: User, maria: User) -> None:
    sent = {"organization": "", "amount": "9000", "period": "month", "action": "hold", "site_zone": "Europe/Berlin"}
    assert browser_of(maria).post("/budgets/new", sent).status_code == 400
    assert not Budget.objects.exists()
    browser_of(root).post("/budgets/new", sent)
    budget = Budget.objects.get()
    assert (budget.scope, budget.time_zone, budget.thresholds) == ("site", "Europe/Berlin", [])
    browser_of(root).post(page_of(budget), fields(budget, site_zone="Asia/Tokyo"))
    assert Budget.objects.get().time_zone == "Asia/Tokyo"


def test_an_admin_of_another_organization_sets_none_here(acme: Organization, charlie: User) -> None:
    other = Organization.objects.create(name="third")
    stranger = make_user("zoe", other, Role.ADMIN)
    page = browser_of(stranger).post("/budgets/new", {"organization": "acme", "amount": "1", "period": "month"})
    assert page.status_code == 400
    assert "Select a valid choice" in text_of(page)
    assert not Budget.objects.exists()


BAD_AMOUNTS = ["-1", "NaN", "Infinity", "1e12", "0.001", "many", "", "\x00"]


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
def test_an_amount_that_is_none_changes_nothing(acme: Organization, maria: User, amount: str) -> None:
    budget, browser = budget_of(acme, "500"), browser_of(maria)
    page = browser.post(page_of(budget), fields(budget, amount=amount))
    assert page.status_code == 400
    assert 'aria-invalid="true"' in page.content.decode()
    sent = {"organization": "acme", "amount": amount, "period": "day", "action": "hold"}
    assert browser.post("/budgets/new", sent).status_code == 400
    assert Budget.objects.get().amount == 500
    assert not AuditRecord.objects.exists()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("thresholds", "0", "Enter whole percents from 1 to 1000"),
        ("thresholds", "half", "Enter whole percents"),
        ("thresholds", "-50", "Enter whole percents"),
        ("thresholds", ",".join(map(str, range(1, 12))), "Enter at most 10 percents."),
        ("action", "explode", "Select a valid choice"),
        ("period", "week", "Select a valid choice"),
        ("person", "charlie", "acme has no member “charlie”."),
        ("person", "nobody", "acme has no member “nobody”."),
    ],
)
def test_other_bad_input_is_named(
    acme: Organization, maria: User, charlie: User, name: str, value: str, sentence: str
) -> None:
    sent = {"organization": "acme", "amount": "5", "period": "day", "action": "hold", name: value}
    page = browser_of(maria).post("/budgets/new", sent)
    assert page.status_code == 400
    assert sentence in text_of(page)
    assert not Budget.objects.exists()


def test_a_zone_that_does_not_exist_is_refused(root: User) -> None:
    budget = budget_of(None, "500")
    page = browser_of(root).post(page_of(budget), fields(budget, site_zone="Mars/Olympus"))
    assert page.status_code == 400
    assert "Mars/Olympus is not one of the available choices" in text_of(page)
    sent = {"organization": "", "amount": "5", "period": "day", "action": "hold", "site_zone": "Mars/Olympus"}
    assert browser_of(root).post("/budgets/new", sent).status_code == 400
    assert Budget.objects.get().time_zone == "UTC"


def test_a_person_needs_an_organization(root: User, alice: User) -> None:
    sent = {"organization": "", "person": "alice", "amount": "5", "period": "day", "action": "hold"}
    page = browser_of(root).post("/budgets/new", {**sent, "site_zone": "UTC"})
    assert "Choose an organization for a person’s budget" in text_of(page)
    assert not Budget.objects.exists()


def test_a_second_budget_of_the_same_period_is_refused(acme: Organization, maria: User) -> None:
    budget_of(acme, "500")
    page = browser_of(maria).post(
        "/budgets/new", {"organization": "acme", "amount": "5", "period": "month", "action": "hold"}
    )
    assert page.status_code == 400
    assert "There is a budget of acme for a month already." in text_of(page)


def test_lowering_below_what_is_committed_asks_first(acme: Organization, maria: User, make_job: MakeJob) -> None:
    budget, browser = budget_of(acme, "500"), browser_of(maria)
    ledger.reserve([make_job(estimated_cost_usd=Decimal(300))])
    page = browser.post(page_of(budget), fields(budget, amount="200", action="cancel"))
    assert page.status_code == 409
    assert (
        "$300 are already committed, more than $200: no more jobs start. Running jobs are cancelled once it is spent."
    ) in text_of(page)
    assert confirmed_in(page) == "200"
    assert Budget.objects.get().amount == 500
    # What was confirmed is this amount, and no lower one.
    page = browser.post(page_of(budget), fields(budget, amount="100", confirm="200"))
    assert (page.status_code, confirmed_in(page)) == (409, "100")
    browser.post(page_of(budget), fields(budget, amount="200", confirm="200"))
    assert Budget.objects.get().amount == 200


def test_cancelling_what_runs_at_once_asks_first(acme: Organization, maria: User, make_job: MakeJob) -> None:
    budget, browser = budget_of(acme, "50"), browser_of(maria)
    spend(make_job, "60")
    page = browser.post(page_of(budget), fields(budget, action="cancel"))
    assert page.status_code == 409
    assert "Running jobs are cancelled." in text_of(page)
    assert Budget.objects.get().action == "hold"
    browser.post(page_of(budget), fields(budget, action="cancel", confirm="50"))
    assert Budget.objects.get().action == "cancel"


def test_a_new_budget_below_what_is_committed_asks_first(acme: Organization, maria: User, make_job: MakeJob) -> None:
    spend(make_job, "60")
    browser, sent = browser_of(maria), {"organization": "acme", "amount": "20", "period": "month", "action": "hold"}
    page = browser.post("/budgets/new", sent)
    assert page.status_code == 409
    assert "$60 are already committed, more than $20" in text_of(page)
    assert not Budget.objects.exists()
    assert browser.post("/budgets/new", {**sent, "amount": "60", "action": "cancel"}).status_code == 409
    browser.post("/budgets/new", {**sent, "confirm": "20"})
    assert Budget.objects.get().amount == 20


def test_of_two_who_change_it_the_second_is_told_and_loses_nothing(acme: Organization, maria: User, root: User) -> None:
    budget = budget_of(acme, "500")
    browser_of(maria).post(page_of(budget), fields(budget, amount="600"))
    page = browser_of(root).post(page_of(budget), fields(budget, amount="700"))
    assert page.status_code == 409
    assert "Somebody else changed this budget after you opened it." in text_of(page)
    assert "The budget is now: $600 for a month" in text_of(page)
    assert 'value="700"' in page.content.decode()
    assert Budget.objects.get().amount == 600
    browser_of(root).post(page_of(budget), fields(budget, amount="700", version=version_in(page)))
    assert Budget.objects.get().amount == 700


def test_what_is_mended_after_an_error_still_has_its_old_version(acme: Organization, maria: User) -> None:
    budget, browser = budget_of(acme, "500"), browser_of(maria)
    Budget.objects.filter(pk=budget.pk).update(amount=600, version=2)
    page = browser.post(page_of(budget), fields(budget, amount="-1"))
    assert version_in(page) == "1"
    assert browser.post(page_of(budget), fields(budget, version="")).status_code == 409
    assert Budget.objects.get().amount == 600


def test_removing_what_somebody_changed_meanwhile_removes_nothing(acme: Organization, maria: User) -> None:
    budget, browser = budget_of(acme, "500"), browser_of(maria)
    page = browser.post(f"{page_of(budget)}/remove", {"stamp": "older"}, follow=True)
    assert "Somebody else changed this" in text_of(page)
    assert Budget.objects.exists()


def test_the_settings_list_the_organizations_budgets(
    acme: Organization, alice: User, maria: User, charlie: User
) -> None:
    other = Organization.objects.exclude(pk=acme.pk).first()
    budget_of(acme, "500")
    budget_of(other or Organization.objects.create(name="third"), "77")
    page = text_of(browser_of(maria).get(f"{ACME}/budgets"))
    assert "$500 each month" in page
    assert "New budget" in page
    assert "$77" not in page
    assert "New budget" not in text_of(browser_of(alice).get(f"{ACME}/budgets"))
    assert browser_of(charlie).get(f"{ACME}/budgets").status_code == 404
    assert Client().get("/budgets").status_code == 302


def test_a_month_that_is_over_starts_anew_on_the_page(acme: Organization, bob: User, make_job: MakeJob) -> None:
    budget = budget_of(acme, "100")
    long_ago = timezone.now() - timedelta(days=70)
    budget.notices.create(period_start=long_ago.date(), threshold=80, spent=85, amount=100)
    assert "80 % $80 not in this period" in text_of(browser_of(bob).get(page_of(budget)))
