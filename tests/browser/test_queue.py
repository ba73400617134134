"""The page of the queue in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from approvals.intake import Outcome
from jobs.models import Job
from queueing import claims, passes
from queueing.models import QueueEntry, QueueState
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, start, violations

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

Submit = Callable[..., Outcome]


def test_a_lead_reorders_with_the_keyboard_while_a_researcher_watches(
    browse: Browse, alice: User, bob: User, charlie: User, submit: Submit, complaints: list[str]
) -> None:
    first, second = submit(alice, "the-first").job, submit(alice, "the-second").job
    submit(charlie, "charlies-own")
    leads, watching = is_live(browse(bob, "/queue")), is_live(browse(alice, "/queue"))
    expect(watching.get_by_role("button", name="Priority")).to_have_count(0)
    assert "charlies-own" not in leads.content()
    expect(leads.get_by_text("1 job from another organization is")).to_be_visible()

    leads.locator(f"#entry-{second.pk}").get_by_role("button", name="Priority").focus()
    leads.keyboard.press("Enter")
    leads.keyboard.type("50")
    leads.keyboard.press("Enter")
    expect(leads.get_by_role("dialog")).to_be_visible()  # it asks for the reason too
    leads.get_by_label("Reason").fill("needed for the demo")
    leads.get_by_role("button", name="Set the priority").click()
    expect(leads.locator(".line").first).to_contain_text("the-second")
    assert QueueEntry.objects.get(job=second).effective_priority == 50
    passes.publish_queue()  # the next pass does
    expect(watching.locator(".line").first).to_contain_text("the-second")

    start(first)
    leads.locator(f"#entry-{second.pk}").get_by_role("button", name="Cancel").click()
    Job.objects.filter(pk=second.pk).update(status="completed", completed_at=second.created_at)
    leads.get_by_role("button", name="Cancel the job").click()
    expect(leads.get_by_role("alert")).to_contain_text("already ended")
    forgive(leads, complaints, "409")


def test_what_is_cancelled_by_keyboard_leaves_the_keyboard_on_the_page(
    browse: Browse, alice: User, submit: Submit
) -> None:
    job = submit(alice, "wrong").job
    page = is_live(browse(alice, "/queue"))
    page.locator(f"#entry-{job.pk}").get_by_role("button", name="Cancel").press("Enter")
    page.get_by_role("button", name="Cancel the job").press("Enter")
    expect(page.locator(f"#entry-{job.pk}")).to_have_count(0)
    expect(page.locator("#main")).to_be_focused()


def test_it_is_paused_and_resumed_and_everybody_sees_why_nothing_starts(
    browse: Browse, alice: User, root: User, submit: Submit
) -> None:
    submit(alice, "waits")
    roots, watching = is_live(browse(root, "/queue")), is_live(browse(alice, "/queue"))
    roots.get_by_role("button", name="Pause").click()
    roots.get_by_role("button", name="Pause the queue").click()
    expect(roots.get_by_role("button", name="Resume")).to_be_visible()
    with watching.expect_request("**/queue/now") as request:
        passes.publish_queue()
    assert request.value.headers["x-reader"] == str(alice.pk)
    expect(watching.get_by_text("The queue is paused until an admin resumes it.")).to_be_visible()
    expect(watching.locator("#spoken")).to_contain_text("The queue is paused")
    roots.get_by_role("button", name="Resume").click()
    expect(roots.get_by_role("button", name="Pause")).to_be_visible()
    assert not QueueState.objects.get().paused
    roots.get_by_role("button", name="Start eligible jobs now").click()
    expect(roots.get_by_text("Eligible jobs start in a moment")).to_be_visible()


def test_it_has_no_barriers(browse: Browse, busy_team: None, bob: User) -> None:
    for entry in claims.claim_next():
        claims.confirm(entry)
    page = is_live(browse(bob, "/queue", reduced_motion="reduce"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"queue-{scheme}")
    page.set_viewport_size({"width": 360, "height": 740})
    assert violations(page) == [], "on a phone"
    assert not is_wider_than_the_window(page)
    keep(page, "queue-phone-dark")
