"""The sentences that send people to an organization's admin lead to where it can be done."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from jobs.models import Organization
from jobs.roles import Role
from tests.factories import make_user
from tests.settings_pages import browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MEMBERS = 'href="/organizations/acme/settings/members"'


def test_the_sign_in_page_offers_a_new_password_and_names_invitations(alice: User) -> None:
    page = browser_of(None).get("/login")
    assert "No account? An admin of your organization can invite you." in text_of(page)
    assert "Forgotten password?" in text_of(page)


def test_a_refused_page_leads_to_ones_organizations(alice: User) -> None:
    page = browser_of(alice).get("/machines")
    assert page.status_code == 403
    assert "An admin of your organization can give you one." in text_of(page)
    assert 'href="/account#you-title"' in page.content.decode()


def test_the_account_leads_to_each_organizations_members_and_the_address(alice: User) -> None:
    page = browser_of(alice).get("/account").content.decode()
    assert MEMBERS in page
    assert "Change the mail address" in page


def test_an_empty_list_leads_a_viewer_to_the_admins_and_tells_others_of_invitations(acme: Organization) -> None:
    page = browser_of(make_user("vera", acme, Role.VIEWER)).get("/")
    assert "The admins of your organization can change your role" in text_of(page)
    assert MEMBERS in page.content.decode()
    assert "An admin of one can invite you." in text_of(browser_of(make_user("dora")).get("/"))


def test_a_superuser_without_organizations_makes_one_here(root: User) -> None:
    assert 'href="/site/organizations"' in browser_of(root).get("/").content.decode()


def test_an_api_answer_says_who_can_help(client_of: object, db: None) -> None:
    answer = client_of(make_user("dora")).post("/api/cloud/jobs/submit", {"config": {}})  # type: ignore[operator]
    assert answer.status_code == 403
    assert "Ask an admin to invite you, or to make you a researcher." in answer.json()["detail"]
