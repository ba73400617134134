"""The review queue as a lead uses it: in a real browser, on a wide screen and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from approvals import decisions
from approvals.intake import Outcome
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs.models import Organization, ProviderConfig
from jobs.roles import Role
from tests.browser.conftest import Browse, is_wider_than_the_window, keep, violations
from tests.factories import make_user

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

Submit = Callable[..., Outcome]
LIST = "/admin/approvals/approvalrequest/"
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


@pytest.fixture
def carol(acme: Organization) -> User:
    """Another lead, at another browser."""
    return make_user("carol", acme, Role.LEAD)


@pytest.fixture
def waiting(alice: User, bob: User, hold_everything: ApprovalRule, submit: Submit) -> list[ApprovalRequest]:
    """Four held jobs of alice's, the first of which was approved long ago."""
    ProviderConfig.objects.update_or_create(
        name="local", defaults={"cost_per_second": {"cpu": "0.02"}, "seconds_per_step": 1.2}
    )
    names = ("flux-portraits", "flux-portraits-rank64", "sdxl-product-shots", "sd3-watercolour", "sana-logo")
    steps = (100, 4000, 600, 900, 1200)
    found = []
    for name, count in zip(names, steps, strict=True):
        outcome = submit(alice, name, config={"max_train_steps": count, "learning_rate": 1e-4})
        assert outcome.approval is not None
        found.append(ApprovalRequest.objects.select_related("job").get(pk=outcome.approval.pk))
    first, *rest = found
    decisions.approve(first, user=bob, source=Source.API, notes="fine for a start")
    return rest


def is_cut(page: Page, selector: str) -> bool:
    """Whether something of what is in there is out of sight, to the right."""
    return bool(page.eval_on_selector(selector, "it => it.scrollWidth > it.clientWidth"))


def test_a_lead_decides_about_four_requests(
    browse: Browse, bob: User, carol: User, waiting: list[ApprovalRequest]
) -> None:
    page = browse(bob, "/admin/")
    page.get_by_role("link", name="4 approval requests wait for a decision").click()
    page.goto("/admin/approvals/approvalrequest/")
    expect(page.locator("#result_list tbody tr")).to_have_count(5)
    expect(page.locator("#result_list tbody tr").last).to_contain_text("Approved")
    assert not is_cut(page, "#changelist .results")
    keep(page, "review-list")

    page.get_by_role("link", name="flux-portraits-rank64").click()
    expect(page.get_by_text("100 → 4000")).to_be_visible()
    estimate = "4000 steps of about 1.2 s (by the operator's figure), at $0.02 a second on CPU."
    expect(page.get_by_text(estimate)).to_be_visible()
    keep(page, "review-request")
    page.get_by_label("Reason").fill("the rank is worth a try")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("1 approved.")).to_be_visible()
    assert ApprovalRequest.objects.get(pk=waiting[0].pk).status == "approved"

    page.goto(LIST)
    for request in waiting[1:]:
        page.locator(f"input.action-select[value='{request.pk}']").check()
    # Meanwhile, in another browser:
    decisions.reject(waiting[3], user=carol, source=Source.ADMIN, notes="we have a logo")
    page.locator("select[name=action]").select_option("reject_selected")
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).click()
    expect(page.get_by_role("heading", name="Reject 3 requests")).to_be_visible()
    keep(page, "review-reason")
    page.get_by_label("Reason").fill("the budget of this month is spent")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("2 rejected, 1 already decided by carol.")).to_be_visible()
    keep(page, "review-results")
    assert [ApprovalRequest.objects.get(pk=item.pk).reviewed_by for item in waiting[1:]] == ["bob", "bob", "carol"]


def test_the_review_queue_fits_a_phone(browse: Browse, bob: User, waiting: list[ApprovalRequest]) -> None:
    page = browse(bob, LIST, **PHONE)
    expect(page.locator("#result_list tbody tr")).to_have_count(5)
    assert not is_wider_than_the_window(page)
    keep(page, "review-list-phone")
    page.goto(f"{LIST}{waiting[0].pk}/change/")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    assert not is_wider_than_the_window(page)
    keep(page, "review-request-phone")


def test_the_page_of_a_rule_shows_its_back_test(browse: Browse, root: User, waiting: list[ApprovalRequest]) -> None:
    rule = ApprovalRule.objects.get()
    page = browse(root, f"/admin/approvals/approvalrule/{rule.pk}/change/")
    expect(page.get_by_role("heading", name="As saved, in the last 30 days")).to_be_visible()
    expect(page.get_by_text("It would have held 5 of 5 jobs")).to_be_visible()
    keep(page, "review-rule")
    page.get_by_label("Job", exact=True).fill(waiting[0].job_id)
    with page.expect_popup() as opened:
        page.get_by_role("button", name="Try in a new tab").click()
    expect(opened.value.get_by_text("holds it: Estimated $96.00, above the $0.50 limit.")).to_be_visible()
    keep(opened.value, "review-rule-tried")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_request_can_be_read_by_everybody(
    browse: Browse, bob: User, waiting: list[ApprovalRequest], scheme: str
) -> None:
    page = browse(bob, f"{LIST}{waiting[0].pk}/change/", color_scheme=scheme)
    serious = [line for line in violations(page) if line.startswith("color-contrast")]
    assert [line for line in serious if "decision" in line or "review-list" in line or "pending" in line] == []


def test_what_costs_nothing_known_is_said(browse: Browse, alice: User, bob: User, submit: Submit) -> None:
    ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))
    outcome = submit(alice, "no-price", provider="replicate", hardware_profile="gpu-h100")
    assert outcome.approval is not None
    page = browse(bob, f"{LIST}{outcome.approval.pk}/change/")
    expect(page.get_by_text("can't be estimated")).to_be_visible()
    expect(page.get_by_text("no price is set for gpu-h100 at Replicate")).to_be_visible()


def test_what_others_decide_shows_at_once_and_loses_nothing_that_was_typed(
    browse: Browse, bob: User, carol: User, waiting: list[ApprovalRequest]
) -> None:
    request_ = waiting[0]
    request_.requirements.update(approvals_needed=2)
    request_.refresh_from_db()
    place = browse(bob, "/approvals")
    idle, typing, listed = (browse(bob, address) for address in (*[f"{LIST}{request_.pk}/change/"] * 2, LIST))
    for page in (idle, typing, listed):
        page.locator("#review-news[data-up]").wait_for(state="attached")
    typing.get_by_label("Reason").fill("half a sentence")
    expect(listed.locator("#result_list tbody .field-status").first).to_have_text("Pending")

    assert decisions.approve(request_, user=carol, source=Source.API, notes="fine by me")
    expect(place.locator(f"#request-{request_.pk}")).to_contain_text("1 of 2 approvals")
    expect(idle.get_by_text("fine by me")).to_be_visible()
    expect(typing.get_by_text("still needs approval; carol approved: 1 of 2 approvals: fine by me")).to_be_visible()
    expect(typing.get_by_label("Reason")).to_have_value("half a sentence")

    for request in waiting[1:]:
        assert decisions.reject(request, user=carol, source=Source.API, notes="no")
    expect(listed.get_by_role("link", name="Approvals 1 to decide")).to_be_visible()
