"""The page of the approvals in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from approvals import decisions
from approvals.dashboard import views
from approvals.intake import Outcome
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs.models import Organization
from jobs.roles import Role
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, row, violations
from tests.factories import make_user

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

Submit = Callable[..., Outcome]


def test_a_lead_decides_in_place_while_the_requester_watches(
    browse: Browse, alice: User, bob: User, charlie: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    leads, requesters = is_live(browse(bob, "/approvals")), is_live(browse(alice, "/approvals"))
    strangers = is_live(browse(charlie, "/approvals"))
    expect(leads.get_by_role("heading", name="No requests are pending")).to_be_visible()
    submit(alice, "flux-<b>portraits</b>")
    expect(leads.get_by_role("link", name="Approvals 1 to decide")).to_be_visible()
    item = leads.locator(".request")
    expect(item).to_contain_text("flux-<b>portraits</b>")
    expect(item.locator(".left")).to_contain_text("left")
    assert "portraits" not in strangers.content()

    item.get_by_role("button", name="Reject").focus()
    leads.keyboard.press("Enter")
    leads.get_by_role("button", name="Reject", exact=True).last.click()
    expect(leads.get_by_role("dialog")).to_be_visible()  # a rejection says why
    leads.get_by_label("Reason").fill("use the smaller card")
    leads.get_by_role("button", name="Reject", exact=True).last.click()
    expect(leads.locator(".decided")).to_contain_text("use the smaller card")
    expect(leads.get_by_role("link", name="Approvals", exact=True)).to_be_visible()
    expect(requesters.locator(".decided")).to_contain_text("by bob")

    submit(alice, "another")
    leads.get_by_role("button", name="Approve another").click()
    leads.get_by_role("button", name="Approve", exact=True).last.click()
    expect(leads.locator(".decided")).to_contain_text("another")
    submit(alice, "a-third")
    requesters.get_by_role("button", name="Withdraw request a-third").click()
    requesters.get_by_role("button", name="Withdraw request", exact=True).last.click()
    expect(requesters.locator(".decided")).to_contain_text("a-third")
    expect(leads.get_by_role("heading", name="No requests are pending")).to_be_visible()


def test_the_keyboard_goes_on_to_the_request_beside_the_one_that_is_decided(
    browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    for name in ("first", "second"):
        submit(alice, name)
    page = is_live(browse(bob, "/approvals"))
    for name, then in (("first", page.locator(".request", has_text="second")), ("second", page.locator("#main"))):
        page.get_by_role("button", name=f"Approve {name}").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Approve", exact=True).last.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".decided")).to_contain_text(name)
        expect(then).to_be_focused()


def test_review_leads_to_the_request_also_when_more_urgent_ones_fill_the_page(
    browse: Browse,
    alice: User,
    bob: User,
    submit: Submit,
    hold_everything: ApprovalRule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views, "MAX_PENDING_SHOWN", 2)
    jobs = [submit(alice, f"flux-{number}").job for number in range(5)]
    page = is_live(browse(bob))
    row(page, jobs[4]).locator("summary").click()
    row(page, jobs[4]).get_by_role("link", name="Review").click()
    request_ = page.locator(".request", has_text="flux-4")
    expect(request_).to_be_focused()
    expect(request_).to_be_in_viewport()
    expect(page.locator(".request")).to_have_count(3)

    submit(alice, "flux-later")  # news: what is fetched anew still has it
    expect(page.get_by_role("link", name="Approvals 6 to decide")).to_be_visible()
    request_.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Approve", exact=True).last.click()
    expect(page.locator(".decided")).to_contain_text("flux-4")


def test_a_request_that_is_not_there_is_said_to_be_missing(
    browse: Browse, alice: User, charlie: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    held = submit(alice, "a-secret").approval
    assert held is not None
    page = browse(charlie, f"/approvals#request-{held.pk}")
    expect(page.get_by_text("This request isn’t here")).to_be_visible()
    assert "a-secret" not in page.content()


def test_who_comes_too_late_reads_beside_it_who_was_faster(
    browse: Browse,
    alice: User,
    bob: User,
    acme: Organization,
    submit: Submit,
    hold_everything: ApprovalRule,
    complaints: list[str],
) -> None:
    rita = make_user("rita", acme, Role.LEAD)
    submit(alice)
    page = is_live(browse(rita, "/approvals"))
    page.get_by_role("button", name="Approve").click()
    decisions.reject(ApprovalRequest.objects.get(), user=bob, source=Source.API, notes="too dear")
    page.get_by_role("button", name="Approve", exact=True).last.click()
    expect(page.locator(".decided [role=alert]")).to_contain_text("already rejected by bob at")
    forgive(page, complaints, "409")


def test_changes_are_open_and_stay_so_when_another_request_comes(
    browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    first = submit(alice, "flux").approval
    assert first is not None
    decisions.approve(first, user=bob, source=Source.API)
    submit(alice, "flux-again", config={"max_train_steps": 200, "learning_rate": 3e-4})
    page = is_live(browse(bob, "/approvals"))
    changes = page.locator(".changes li").first
    expect(changes).to_be_visible()
    submit(bob, "another")
    expect(page.locator(".request", has_text="another")).to_be_visible()
    expect(changes).to_be_visible()


def test_several_are_ticked_with_their_sum_and_decided_on_one_page(
    browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    for name in ("first", "second", "third"):
        submit(alice, name)
    page = is_live(browse(bob, "/approvals"))
    bar = page.locator("#decide-several")
    expect(bar).to_be_hidden()
    for name in ("first", "second"):
        page.get_by_role("checkbox", name=f"Tick {name}").press("Space")
    expect(bar).to_contain_text("2 ticked, about $")
    submit(alice, "fourth")  # news: the ticks stay
    expect(page.locator(".request", has_text="fourth")).to_be_visible()
    expect(bar).to_contain_text("2 ticked")
    page.get_by_role("button", name="Reject ticked").click()
    page.get_by_label("Reason").fill("not this week")
    assert violations(page) == []
    keep(page, "approvals-several-light")
    page.get_by_role("button", name="Reject 2 requests").click()
    expect(page.get_by_text("2 rejected.")).to_be_visible()
    expect(page.locator(".request")).to_have_count(2)


def test_a_request_is_commented_on_and_approved_on_the_page_of_its_job(
    browse: Browse, alice: User, bob: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    job = submit(alice, "flux").job
    page, requesters = is_live(browse(bob, f"/jobs/{job.pk}")), is_live(browse(alice, "/approvals"))
    page.get_by_role("button", name="Comment on flux").click()
    page.get_by_role("textbox", name="Comment").fill("why so many steps?")
    page.get_by_role("button", name="Add comment").click()
    expect(page.locator("[data-request]")).to_contain_text("why so many steps?")
    expect(requesters.locator(".request")).to_contain_text("why so many steps?")
    page.get_by_role("button", name="Approve flux").click()
    page.get_by_role("button", name="Approve", exact=True).last.click()
    expect(page.locator("[data-request]")).to_have_count(0)
    job.refresh_from_db()
    assert job.approval_requests.get().status == "approved"


def test_it_has_no_barriers(
    browse: Browse, alice: User, bob: User, root: User, submit: Submit, hold_everything: ApprovalRule
) -> None:
    first = submit(alice, "flux-portraits")
    assert first.approval is not None
    decisions.approve(first.approval, user=bob, source=Source.API, notes="fine, go on")
    submit(alice, "flux-portraits-lr3e4", config={"max_train_steps": 200, "learning_rate": 3e-4, "resume": True})
    submit(bob, "sdxl-product-shots")
    third = submit(alice, "hunyuan-full-finetune", provider="replicate", hardware_profile="gpu-h100").approval
    assert third is not None
    ApprovalRequest.objects.filter(pk=third.pk).update(expires_at=timezone.now() + timedelta(minutes=4))
    rejected = submit(alice, "flux-rank-512").approval
    assert rejected is not None
    decisions.reject(rejected, user=bob, source=Source.API, notes="rank 64 was no worse at a tenth of the price")
    page = is_live(browse(bob, "/approvals", reduced_motion="reduce"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"approvals-{scheme}")
    page.set_viewport_size({"width": 360, "height": 740})
    assert violations(page) == [], "on a phone"
    assert not is_wider_than_the_window(page)
    keep(page, "approvals-phone-dark")
