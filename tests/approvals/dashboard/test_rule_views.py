"""The rules in an organization's settings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from approvals.models import ApprovalRule
from jobs.models import Organization
from jobs.roles import Role
from tests.factories import make_job, make_user
from tests.settings_pages import ACME, browser_of, send, stamp_in, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
RULES = f"{ACME}/rules"
FIELDS: dict[str, Any] = {
    "name": "big hardware",
    "enabled": "on",
    "priority": "100",
    "hardware": "gpu-*",
    "reviewer_role": "lead",
    "approvals_needed": "1",
    "expires_after_hours": "24",
}


@pytest.fixture
def maria(acme: Organization, bob: User) -> User:
    """The admin of acme, who has bob to decide."""
    ApprovalRule.objects.all().delete()
    return make_user("maria", acme, Role.ADMIN)


@pytest.fixture
def rule(acme: Organization, maria: User) -> ApprovalRule:
    return ApprovalRule.objects.create(name="of-acme", organization=acme, hardware="gpu-*")


class TestList:
    def test_own_and_general_rules_are_listed_and_no_others(self, maria: User, rule: ApprovalRule) -> None:
        ApprovalRule.objects.create(name="of-all", first_job=True)
        ApprovalRule.objects.create(name="of-others", organization=Organization.objects.create(name="others"))
        page = text_of(browser_of(maria).get(RULES))
        assert "of-acme On Change of-acme Switch off of-acme Holds jobs on gpu-*. Needs 1 approval by leads" in page
        assert "of-all On Holds jobs of a user until one has" in page
        assert "of-others" not in page

    def test_none_is_said(self, maria: User) -> None:
        page = text_of(browser_of(maria).get(RULES))
        assert "No rules yet." in page
        assert "No rules." in page


class TestCreation:
    def test_an_empty_choice_has_a_name(self, maria: User) -> None:
        page = browser_of(maria).get(f"{RULES}/new").content.decode()
        assert all(f"{name}</option>" in page for name in ("Any role", "Any provider", "No group"))
        assert "----" not in page

    def test_a_rule_is_the_organizations(self, maria: User, acme: Organization) -> None:
        page = send(browser_of(maria), f"{RULES}/new", **FIELDS)
        assert "Rule big hardware saved." in text_of(page)
        rule = ApprovalRule.objects.get()
        assert (rule.organization, rule.hardware, rule.enabled) == (acme, "gpu-*", True)

    def test_another_organization_can_not_be_slipped_in(self, maria: User, charlie: User, acme: Organization) -> None:
        other = Organization.objects.get(name="other")
        send(browser_of(maria), f"{RULES}/new", **FIELDS, organization=other.pk)
        assert ApprovalRule.objects.get().organization == acme

    def test_the_same_name_twice_is_refused(self, maria: User, rule: ApprovalRule) -> None:
        page = send(browser_of(maria), f"{RULES}/new", **{**FIELDS, "name": "of-acme"})
        assert page.status_code == 400
        assert "There is a rule of this name in the organization." in text_of(page)
        assert ApprovalRule.objects.count() == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("cost_exceeds", "-1"),
            ("approvals_needed", "11"),
            ("reviewer_role", "viewer"),
            ("provider", "Replicate"),
            ("priority", "x"),
        ],
    )
    def test_a_bad_value_is_named_and_stores_nothing(self, maria: User, field: str, value: str) -> None:
        page = send(browser_of(maria), f"{RULES}/new", **{**FIELDS, field: value})
        assert page.status_code == 400
        assert f'aria-describedby="id_{field}' in page.content.decode()
        assert not ApprovalRule.objects.exists()

    def test_another_teams_group_is_not_offered_and_refused(self, maria: User, charlie: User) -> None:
        group = Group.objects.create(name="their-board")
        charlie.groups.add(group)
        browser = browser_of(maria)
        assert "their-board" not in text_of(browser.get(f"{RULES}/new"))
        assert send(browser, f"{RULES}/new", **FIELDS, reviewer_group=group.pk).status_code == 400
        assert not ApprovalRule.objects.exists()

    def test_too_few_reviewers_are_said(self, maria: User) -> None:
        page = text_of(send(browser_of(maria), f"{RULES}/new", **{**FIELDS, "approvals_needed": "3"}))
        assert "Organization acme has 2 of the 3 reviewers that the rule needs" in page


class TestChange:
    def test_a_rule_is_changed(self, maria: User, rule: ApprovalRule) -> None:
        page = send(browser_of(maria), f"{RULES}/{rule.pk}", **{**FIELDS, "cost_exceeds": "0"})
        assert "Rule big hardware saved." in text_of(page)
        rule.refresh_from_db()
        assert (rule.name, rule.cost_exceeds) == ("big hardware", Decimal(0))

    def test_a_page_that_is_out_of_date_overwrites_nothing_until_it_is_stored_again(
        self, maria: User, rule: ApprovalRule
    ) -> None:
        browser = browser_of(maria)
        stamp = stamp_in(browser, f"{RULES}/{rule.pk}")
        ApprovalRule.objects.update(approvals_needed=2)
        page = browser.post(f"{RULES}/{rule.pk}", {**FIELDS, "stamp": stamp})
        assert page.status_code == 409
        assert "Somebody else changed this rule after you opened it." in text_of(page)
        assert "The rule now reads: Holds jobs on gpu-*. Needs 2 approvals" in text_of(page)
        assert 'value="big hardware"' in page.content.decode()
        rule.refresh_from_db()
        assert (rule.name, rule.approvals_needed) == ("of-acme", 2)
        assert send(browser, f"{RULES}/{rule.pk}", **FIELDS).status_code == 200
        rule.refresh_from_db()
        assert (rule.name, rule.approvals_needed) == ("big hardware", 1)

    @pytest.mark.parametrize("address", ["", "/switch", "/delete"])
    def test_rules_of_others_are_not_found_here(self, maria: User, charlie: User, address: str) -> None:
        other = Organization.objects.get(name="other")
        for organization in (None, other):
            foreign = ApprovalRule.objects.create(name="foreign", organization=organization, first_job=True)
            page = browser_of(maria).post(f"{RULES}/{foreign.pk}{address}", {**FIELDS, "enabled": "no"})
            assert page.status_code == 404
        assert ApprovalRule.objects.filter(enabled=True, name="foreign").count() == 2

    def test_it_is_switched_off_once_and_on_again(self, maria: User, rule: ApprovalRule) -> None:
        browser = browser_of(maria)
        for expected in ("Rule of-acme is off.", "The rule of-acme is already off."):
            page = browser.post(f"{RULES}/{rule.pk}/switch", {"enabled": "no"}, follow=True)
            assert expected in text_of(page)
        rule.refresh_from_db()
        assert not rule.enabled
        assert "is on and applies" in text_of(
            browser.post(f"{RULES}/{rule.pk}/switch", {"enabled": "yes"}, follow=True)
        )

    def test_it_is_deleted_once(self, maria: User, rule: ApprovalRule) -> None:
        browser = browser_of(maria)
        page = browser.post(f"{RULES}/{rule.pk}/delete", follow=True)
        assert "Rule of-acme deleted." in text_of(page)
        assert browser.post(f"{RULES}/{rule.pk}/delete").status_code == 404

    def test_nothing_is_deleted_by_a_link(self, maria: User, rule: ApprovalRule) -> None:
        assert browser_of(maria).get(f"{RULES}/{rule.pk}/delete")["Location"] == RULES
        assert ApprovalRule.objects.exists()


class TestTrial:
    def test_it_shows_the_jobs_that_would_have_been_held_and_stores_nothing(
        self, maria: User, alice: User, acme: Organization, rule: ApprovalRule
    ) -> None:
        job = make_job(organization=acme, submitted_by=alice, hardware_profile="cpu", config_name="on-cpu")
        browser = browser_of(maria)
        assert "It would have held 0 of 1 job" in text_of(browser.get(f"{RULES}/{rule.pk}"))
        fields = {**FIELDS, "hardware": "cpu", "try": "yes", "job": job.pk}
        page = text_of(send(browser, f"{RULES}/{rule.pk}", **fields))
        assert "It would have held 1 of 1 job" in page
        assert "on-cpu by alice" in page
        assert "big hardware (this one) holds it" in page
        rule.refresh_from_db()
        assert rule.name == "of-acme"

    def test_trying_it_keeps_the_form_from_overwriting_a_later_change(self, maria: User, rule: ApprovalRule) -> None:
        browser = browser_of(maria)
        stamp = stamp_in(browser, f"{RULES}/{rule.pk}")
        ApprovalRule.objects.update(approvals_needed=2)
        page = browser.post(f"{RULES}/{rule.pk}", {**FIELDS, "stamp": stamp, "try": "yes"})
        assert stamp in page.content.decode()
