"""The settings of an organization in a real browser."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from approvals.models import ApprovalRule
from jobs.configs.store import store_config
from jobs.models import Membership, Organization, TrainingConfig
from jobs.organizations.tags import add_tag
from jobs.roles import Role
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, sticking_out, violations
from tests.factories import make_job, make_user

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]
SETTINGS = "/organizations/acme/settings"


@pytest.fixture
def maria(acme: Organization, alice: User, bob: User) -> User:
    """The admin of acme, which has members, rules and a config; she has a second organization."""
    maria = make_user("maria", acme, Role.ADMIN)
    second = Organization.objects.create(name="the-second-organization-with-a-rather-long-name")
    Membership.objects.create(user=maria, organization=second, role=Role.ADMIN)
    make_user("somebody.with.a.long.name@research.example.org", acme, Role.VIEWER)
    ApprovalRule.objects.create(name="big hardware", organization=acme, hardware="gpu-*", exempt_roles=["admin"])
    ApprovalRule.objects.create(name="full finetunes", organization=acme, config_name="*full*", approvals_needed=2)
    store_config(alice, acme, "flux-portraits", {"max_train_steps": 1000, "hub_token": "none-real"}, [{"id": "a"}])
    make_job(organization=acme, submitted_by=alice, hardware_profile="gpu-t4")
    make_job(organization=acme, provider="replicate", metadata={"discovered": True})
    add_tag(acme, "a tag with a name of forty characters xx", by=maria)
    return maria


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


@pytest.mark.parametrize(
    "section", ["members", "limits", "rules", "rules/new", "configs", "configs/new", "discovered", "tags"]
)
def test_each_section_is_readable_at_any_width(browse: Browse, maria: User, section: str) -> None:
    page = is_live(browse(maria, f"{SETTINGS}/{section}", reduced_motion="reduce"))
    look_at(page, section.replace("/", "-"))


def test_a_rule_is_made_tried_and_switched_off_by_keyboard(browse: Browse, maria: User) -> None:
    page = is_live(browse(maria, "/"))
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Rules", exact=True).click()
    page.get_by_role("link", name="New rule").click()
    page.get_by_label("Name", exact=True).fill("small gpus")
    page.get_by_label("Hardware", exact=True).fill("gpu-t4")
    page.get_by_role("button", name="Try the rule").press("Enter")
    expect(page.get_by_text("It would have held 1 of 1 job")).to_be_visible()
    look_at(page, "rule-tried")
    page.get_by_role("button", name="Create rule").press("Enter")
    expect(page.get_by_role("status").get_by_text("Rule small gpus saved.")).to_be_visible()
    rule = page.get_by_role("article", name="small gpus")
    rule.get_by_role("button", name="Switch off small gpus").press("Enter")
    expect(page.get_by_text("Rule small gpus is off.")).to_be_visible()
    expect(rule.get_by_text("Off", exact=True)).to_be_visible()
    look_at(page, "rules-after")
    rule.get_by_role("link", name="Change").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    assert ApprovalRule.objects.filter(name="small gpus").exists()
    page.get_by_role("button", name="Delete").click()
    look_at(page, "rule-question")
    page.get_by_role("button", name="Delete rule").click()
    expect(page.get_by_text("Rule small gpus deleted.")).to_be_visible()


def test_a_double_click_stores_once(browse: Browse, maria: User) -> None:
    page = is_live(browse(maria, f"{SETTINGS}/configs/new"))
    page.get_by_label("Name", exact=True).fill("twice")
    page.get_by_label("Config, as JSON").fill('{"max_train_steps": 1}')
    page.get_by_role("button", name="Save config").dblclick()
    expect(page.get_by_text("The config twice is stored.")).to_be_visible()
    assert TrainingConfig.objects.filter(name="twice").count() == 1


def test_a_mistake_is_shown_at_its_field(browse: Browse, maria: User, complaints: list[str]) -> None:
    page = is_live(browse(maria, f"{SETTINGS}/configs/new"))
    page.get_by_label("Name", exact=True).fill("broken")
    # The editor would close a bracket that comes alone.
    page.get_by_label("Config, as JSON").fill('{"max_train_steps": ')
    page.get_by_role("button", name="Save config").click()
    expect(page.get_by_label("Config, as JSON")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("This is not valid JSON: line 1")).to_be_visible()
    assert not TrainingConfig.objects.filter(name="broken").exists()
    look_at(page, "config-broken")
    complaints[:] = [text for text in complaints if "400" not in text]


def test_the_switcher_leads_to_the_same_section(browse: Browse, maria: User) -> None:
    page = is_live(browse(maria, f"{SETTINGS}/limits"))
    page.get_by_text("Switch organization").press("Enter")
    keep(page, "settings-switcher")
    page.get_by_role("link", name="the-second-organization").press("Enter")
    expect(page).to_have_url(
        re.compile("/organizations/the-second-organization-with-a-rather-long-name/settings/limits")
    )
