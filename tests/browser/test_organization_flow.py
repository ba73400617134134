"""An organization that runs itself, in a real browser: from an invitation to a first job, without a superuser."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, sticking_out, violations
from tests.factories import make_job, make_user
from tests.settings_pages import ACME

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def maria(acme: Organization) -> User:
    return make_user("maria", acme, Role.ADMIN)


def look_at(page: Page, name: str) -> None:
    """Check the page at each width and in both colour schemes."""
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert violations(page) == [], (name, width, scheme)
            keep(page, f"settings-{name}-{width}-{scheme}")
        assert not is_wider_than_the_window(page), (name, width)
        assert sticking_out(page) == [], (name, width)
    page.set_viewport_size({"width": 1440, "height": 900})


def test_from_an_invitation_to_the_members_first_job_without_a_superuser(browse: Browse, maria: User) -> None:
    assert not User.objects.filter(is_superuser=True).exists()
    page = is_live(browse(maria, "/"))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Members", exact=True).click()
    page.get_by_label("Valid for, in days").fill("3")
    page.get_by_role("button", name="Create invitation").dblclick()
    link = page.get_by_label("The link")
    expect(link).to_be_visible()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".toast")).to_have_text("Copied")
    address = str(page.evaluate("navigator.clipboard.readText()"))
    assert address == link.input_value()
    look_at(page, "invitation-made")
    page.reload()
    expect(page.get_by_role("table", name="Open invitations").get_by_role("row")).to_have_count(2)
    assert address not in page.content()

    newcomer = browse(None, address)
    look_at(newcomer, "invitation-signed-out")
    newcomer.get_by_label("User name").fill("nora")
    newcomer.get_by_label("Password").fill("too short")
    newcomer.get_by_role("button", name="Create account and join").click()
    expect(newcomer.get_by_text("This password is too short.")).to_be_visible()
    look_at(newcomer, "invitation-refused")
    newcomer.get_by_label("Password").fill("seventeen-geese-swim")
    newcomer.get_by_role("button", name="Create account and join").dblclick()
    expect(newcomer.get_by_text("Welcome to acme. You are researcher here.")).to_be_visible()
    is_live(newcomer)
    newcomer.get_by_role("link", name="New job").first.click()
    expect(newcomer.get_by_label("Provider")).to_have_value("local")  # its script is at work
    newcomer.get_by_role("textbox", name="JSON", exact=True).fill('{"max_train_steps": 5}')
    newcomer.get_by_label("Name of the job").fill("noras-first")
    newcomer.get_by_role("button", name="Submit the job").click()
    newcomer.wait_for_url(re.compile("/jobs/[0-9a-z]{26}"))
    job = Job.objects.get()
    assert (job.config_name, job.organization.name if job.organization else "") == ("noras-first", "acme")
    assert job.submitted_by == User.objects.get(username="nora")

    page.reload()
    expect(page.get_by_text("No open invitations.")).to_be_visible()
    page.get_by_label("Role of nora").select_option("Lead")
    page.get_by_role("button", name="Change the role of nora").press("Enter")
    expect(page.get_by_text("nora is lead now.")).to_be_visible()
    look_at(page, "members-with-nora")
    page.get_by_role("link", name="History").click()
    for change in (
        "Invited somebody",
        "Made a user",
        "Added a member",
        "Accepted an invitation",
        "Changed a member’s role",
    ):
        expect(page.locator("table").get_by_text(change).first).to_be_visible()
    look_at(page, "history")
    page.get_by_role("link", name="Members", exact=True).click()
    page.get_by_role("link", name="Remove nora").press("Enter")
    expect(page.get_by_text("1 job of nora has not ended.")).to_be_visible()
    look_at(page, "member-removal")
    page.get_by_label("Cancel jobs").check()
    page.get_by_role("button", name="Remove nora").press("Enter")
    expect(page.get_by_text("nora was removed from acme. 1 job cancelled.")).to_be_visible()
    assert not Membership.objects.filter(user__username="nora").exists()
    forget = newcomer.goto(ACME)
    assert forget is not None and forget.status == 404


@pytest.fixture(autouse=True)
def forgiven(complaints: list[str], browse: Browse) -> object:
    """The browser notes each answer of 4xx, which these pages give for what is refused."""
    yield
    complaints[:] = [text for text in complaints if "status of 4" not in text]


FOR_ALL = {"Members", "Budgets", "Stored configs", "Tags", "Results"}
SEEN = {
    Role.VIEWER: FOR_ALL,
    Role.RESEARCHER: FOR_ALL,
    Role.LEAD: FOR_ALL,
    Role.ADMIN: {"General", "Members", "Limits", "Rules", "Stored configs", "Discovered jobs", "History"},
}


@pytest.mark.parametrize("role", list(SEEN))
def test_each_role_walks_through_the_pages_that_it_has(
    browse: Browse, acme: Organization, maria: User, role: Role
) -> None:
    page = is_live(browse(make_user("wanda", acme, role), "/account"))
    page.get_by_role("link", name="acme", exact=True).click()
    links = page.get_by_role("navigation", name="Sections").get_by_role("link")
    labels = set(links.all_inner_texts())
    assert labels >= SEEN[role] and (role == Role.ADMIN or labels == SEEN[role])
    for label in sorted(labels):
        page.get_by_role("navigation", name="Sections").get_by_role("link", name=label, exact=True).click()
        expect(page.locator('.settings-list [aria-current="page"]')).to_have_text(label)
        assert violations(page) == [], label
    page.get_by_role("link", name="Members", exact=True).click()
    look_at(page, f"members-as-{role}")
    page.get_by_role("link", name="Leave acme").click()
    page.get_by_role("button", name="Leave acme").click()
    expect(page.get_by_text("You left acme.")).to_be_visible()


def test_a_superuser_walks_through_the_site(browse: Browse, root: User, alice: User, make_job_of: object) -> None:
    page = is_live(browse(root, "/site"))
    page.get_by_label("Name", exact=True).last.fill("umbrella")
    look_at(page, "site-organizations")
    page.get_by_role("button", name="Create organization").click()
    expect(page.get_by_text("The organization umbrella was created. Invite its first admin.")).to_be_visible()
    page.get_by_role("link", name="Site", exact=True).click()
    page.get_by_role("link", name="acme", exact=True).click()
    look_at(page, "site-organization")
    page.get_by_role("button", name="Close the organization").click()
    page.get_by_role("dialog").get_by_role("button", name="Close the organization").click()
    expect(page.get_by_text("The organization acme is closed.")).to_be_visible()
    expect(page.get_by_text("their history and their costs stay")).to_be_visible()
    page.get_by_role("button", name="Reopen the organization").click()
    expect(page.get_by_text("The organization acme is open again.")).to_be_visible()
    page.get_by_role("link", name="People").click()
    page.get_by_role("searchbox").fill("lic")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("row")).to_have_count(2)
    look_at(page, "site-people")
    page.get_by_role("link", name="alice").click()
    expect(page.get_by_role("button", name="Deactivate")).to_be_visible()
    look_at(page, "site-person")
    page.get_by_role("button", name="Deactivate").click()
    page.get_by_role("dialog").get_by_role("button", name="Deactivate").click()
    expect(page.get_by_text("alice is deactivated.")).to_be_visible()
    page.get_by_role("button", name="Reactivate").click()
    expect(page.get_by_text("alice has access again.")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("table").get_by_text("Deactivated a user").first).to_be_visible()
    look_at(page, "site-audit")


@pytest.fixture
def make_job_of(acme: Organization, alice: User) -> Job:
    return make_job(organization=acme, submitted_by=alice, status="completed")


def test_an_ended_invitation_and_the_general_settings_are_readable(browse: Browse, maria: User) -> None:
    page = browse(None, "/invitations/ct_unknown")
    look_at(page, "invitation-ended")
    look_at(is_live(browse(maria, f"{ACME}/general")), "general")
