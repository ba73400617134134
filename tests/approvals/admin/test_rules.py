"""The rules' pages in the admin: who writes them, what they show, and their trial."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User

from approvals.models import ApprovalRule
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from tests.approvals.admin.pages import RULE, RULES, BrowserOf, page
from tests.factories import make_user
from tests.web import with_single_blanks

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def test_a_superuser_writes_a_rule_and_is_warned(root: User, acme: Organization, browser_of: BrowserOf) -> None:
    shown = browser_of(root).post(f"{RULES}add/", RULE, follow=True).content.decode()
    rule = ApprovalRule.objects.get()
    assert (rule.name, rule.exempt_roles) == ("night", ["admin"])
    assert "Organization acme has 0 of the 1 reviewers" in shown


def test_an_admin_writes_rules_for_their_own_organization_alone(
    charlie: User, root: User, acme: Organization, first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    own = Organization.objects.get(name="other")
    browser = browser_of(charlie)
    form = page(browser, f"{RULES}add/")
    assert form.split('name="organization"')[1].split("</select>")[0].count("<option") == 1
    assert "of every organization" not in form
    for organization in ("", str(acme.pk)):
        browser.post(f"{RULES}add/", {**RULE, "organization": organization})
    assert ApprovalRule.objects.count() == 1
    browser.post(f"{RULES}add/", {**RULE, "organization": str(own.pk)})
    assert ApprovalRule.objects.latest("id").organization == own
    own_rules = page(browser, RULES)
    assert "first_job" not in own_rules and "Rules of the whole site hold jobs, too." in own_rules
    all_rules = page(browser_of(root), RULES)
    assert ">Every organization<" in all_rules and "Rules of the whole site" not in all_rules
    assert "first_job" not in page(browser, f"{RULES}{first_job_rule.pk}/change/")


def test_the_form_of_a_rule_shows_the_others_that_may_hold_the_same_jobs(
    charlie: User, root: User, acme: Organization, browser_of: BrowserOf
) -> None:
    other = Organization.objects.get(name="other")
    ApprovalRule.objects.create(name="site-rule", provider="local", approvals_needed=2, reviewer_role=Role.ADMIN)
    ApprovalRule.objects.create(name="apart", provider="replicate")
    ApprovalRule.objects.create(name="acmes-own", organization=acme)
    own = ApprovalRule.objects.create(name="own-rule", organization=other, provider="local")
    browser = browser_of(charlie)
    shown = with_single_blanks(page(browser, f"{RULES}{own.pk}/change/"))
    held = "Holds jobs for This machine. Needs 2 approvals by admins."
    assert f"<strong><bdi>site-rule</bdi></strong> (every organization): {held}" in shown
    assert ("acmes-own" in shown, "apart" in shown) == (False, False)
    empty = page(browser, f"{RULES}add/")
    assert all(name in empty for name in ("site-rule", "apart", "own-rule"))
    assert "acmes-own" not in empty
    tried = browser.post(f"{RULES}try", {**RULE, "organization": other.pk, "provider": "replicate"}).content.decode()
    assert ("apart" in tried, "site-rule" in tried) == (True, False)
    assert "acmes-own" in page(browser_of(root), f"{RULES}add/")


def test_the_form_offers_an_admin_the_groups_of_their_organization_alone(
    charlie: User, root: User, acme: Organization, browser_of: BrowserOf
) -> None:
    other = Organization.objects.get(name="other")
    groups = {name: Group.objects.create(name=name) for name in ("ours", "of-acme", "of-both", "of-nobody")}
    groups["ours"].user_set.add(charlie)
    groups["of-acme"].user_set.add(make_user("ada", acme, Role.ADMIN))
    groups["of-both"].user_set.add(charlie, User.objects.get(username="ada"))
    browser, add = browser_of(charlie), f"{RULES}add/"

    def offered(shown: str) -> list[str]:
        return [name for name in groups if f">{name}</option>" in shown]

    assert offered(page(browser, add)) == ["ours"]
    assert offered(page(browser_of(root), add)) == [*groups]
    for name in ("of-acme", "of-both", "of-nobody"):
        browser.post(add, {**RULE, "organization": other.pk, "reviewer_group": groups[name].pk})
    assert not ApprovalRule.objects.exists()
    browser.post(add, {**RULE, "organization": other.pk, "reviewer_group": groups["ours"].pk})
    assert ApprovalRule.objects.get().reviewer_group == groups["ours"]


def test_saving_a_rule_does_not_lose_the_group_that_a_superuser_gave_it(
    charlie: User, acme: Organization, browser_of: BrowserOf
) -> None:
    other, group = Organization.objects.get(name="other"), Group.objects.create(name="of-both")
    group.user_set.add(charlie, make_user("ada", acme, Role.ADMIN))
    rule = ApprovalRule.objects.create(name="night", organization=other, reviewer_group=group)
    address, browser = f"{RULES}{rule.pk}/change/", browser_of(charlie)
    assert f'<option value="{group.pk}" selected>of-both</option>' in page(browser, address)
    browser.post(address, {**RULE, "organization": other.pk, "reviewer_group": group.pk, "priority": 7})
    rule.refresh_from_db()
    assert (rule.priority, rule.reviewer_group) == (7, group)


def test_who_administers_two_organizations_chooses_a_group_of_the_rules_own(
    charlie: User, acme: Organization, browser_of: BrowserOf
) -> None:
    Membership.objects.create(user=charlie, organization=acme, role=Role.ADMIN)
    group = Group.objects.create(name="of-acme")
    group.user_set.add(make_user("ada", acme, Role.ADMIN))
    browser, add = browser_of(charlie), f"{RULES}add/"
    fields = {**RULE, "reviewer_group": group.pk}
    refused = browser.post(add, {**fields, "organization": Organization.objects.get(name="other").pk})
    assert "Choose a group that has members, all of them in the organization." in refused.content.decode()
    browser.post(add, {**fields, "organization": acme.pk})
    assert ApprovalRule.objects.get().organization == acme


def test_a_lead_has_no_rules_to_edit(bob: User, first_job_rule: ApprovalRule, browser_of: BrowserOf) -> None:
    assert browser_of(bob).get(RULES).status_code == 403
    assert browser_of(bob).get(f"{RULES}{first_job_rule.pk}/change/").status_code in (302, 403)


def test_the_page_of_a_rule_says_what_it_would_have_held(
    root: User, make_job: Callable[..., Job], first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    make_job(cost_usd="4.20", status="completed")
    shown = page(browser_of(root), f"{RULES}{first_job_rule.pk}/change/")
    assert "It would have held 1 of 1 job, which cost $4.20." in shown


def test_a_rule_is_tried_before_it_is_saved(
    root: User, make_job: Callable[..., Job], first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    job = make_job(cost_usd="4.20", status="completed", config_name="big-one")
    browser = browser_of(root)
    assert "Try in a new tab" in page(browser, f"{RULES}add/")
    draft = {**RULE, "cost_exceeds": "", "config_name": "big*", "_job": job.pk}
    shown = with_single_blanks(browser.post(f"{RULES}try", draft).content.decode())
    assert "It would have held 1 of 1 job, which cost $4.20." in shown
    assert (
        "<strong>night (this one)</strong> holds it: The config name big-one is restricted. Needs 1 approval by"
        in shown
    )
    assert "<strong>first_job</strong> holds it: This is the first job of alice." in shown
    assert "no job “x”" in browser.post(f"{RULES}try", {**draft, "_job": "x"}).content.decode()
    assert "Set at least one criterion" in browser.post(f"{RULES}try", {**RULE, "cost_exceeds": ""}).content.decode()
    assert ApprovalRule.objects.count() == 1


def test_trying_a_stored_rule_leaves_it_as_it_is(
    root: User, make_job: Callable[..., Job], first_job_rule: ApprovalRule, browser_of: BrowserOf
) -> None:
    make_job(config_name="small-one")
    draft = {**RULE, "name": "first_job", "_rule": first_job_rule.pk, "cost_exceeds": "", "config_name": "big*"}
    shown = browser_of(root).post(f"{RULES}try", draft).content.decode()
    assert "It would have held 0 of 1 job" in shown
    first_job_rule.refresh_from_db()
    assert (first_job_rule.first_job, first_job_rule.config_name) == (True, "")


def test_who_writes_no_rules_tries_none_and_others_jobs_stay_hidden(
    bob: User, charlie: User, make_job: Callable[..., Job], browser_of: BrowserOf
) -> None:
    job = make_job(config_name="secret-plan")
    assert browser_of(bob).post(f"{RULES}try", RULE).status_code == 403
    own = Organization.objects.get(name="other")
    shown = browser_of(charlie).post(f"{RULES}try", {**RULE, "organization": own.pk, "_job": job.pk})
    assert "secret-plan" not in shown.content.decode()
    assert "There is no job" in shown.content.decode()
