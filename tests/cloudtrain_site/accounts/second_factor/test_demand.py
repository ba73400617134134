"""A second factor that the site or an organization demands: nothing else goes before it is set up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.states import Actor
from jobs.models import Organization, ServiceAccount
from jobs.roles import Role
from tests.factories import make_user
from tests.one_time_codes import app_of

EVERYBODY = "second_factor:\n  required_of: everybody\n"
PAGES = ("/", "/jobs/new", "/account", "/admin/", "/queue")


@pytest.fixture
def browser(alice: User, client: Client) -> Client:
    client.force_login(alice)
    return client


@pytest.fixture
def strict(acme: Organization) -> Organization:
    """The organization of alice and bob, which demands a second factor."""
    Organization.objects.filter(pk=acme.pk).update(second_factor_required=True)
    return acme


def key_of(user: User) -> dict[str, str]:
    _, key = issue_key(user, "ci", timedelta(days=1), by=Actor.of(user))
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("address", PAGES)
def test_every_page_leads_to_the_one_that_sets_it_up(browser: Client, strict: Organization, address: str) -> None:
    answer = browser.get(address)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/second-factor?next=")


def test_that_page_says_who_demands_it(browser: Client, strict: Organization) -> None:
    assert "required by acme" in browser.get("/account/second-factor").content.decode()


def test_the_api_refuses_the_session(browser: Client, strict: Organization) -> None:
    answer: Any = browser.get("/api/account")
    assert answer.status_code == 403
    assert answer.json()["code"] == "second_factor_required"
    assert browser.get("/api/events").status_code == 403
    assert browser.post("/api/cloud/jobs/submit", {}, content_type="application/json").status_code == 403


def test_the_api_refuses_the_key_with_a_sentence(client: Client, alice: User, strict: Organization) -> None:
    answer: Any = client.get("/api/account", headers=key_of(alice))
    assert answer.status_code == 403
    assert answer.json()["code"] == "second_factor_required"
    assert "required by acme" in answer.json()["detail"]


def test_who_has_one_does_everything(browser: Client, alice: User, strict: Organization) -> None:
    app_of(alice)
    assert browser.get("/").status_code == 200
    assert browser.get("/api/account", headers=key_of(alice)).status_code == 200


def test_members_of_other_organizations_are_not_asked(client: Client, charlie: User, strict: Organization) -> None:
    client.force_login(charlie)
    assert client.get("/").status_code == 200
    assert client.get("/api/account", headers=key_of(charlie)).status_code == 200


def test_the_way_out_stays_open(browser: Client, strict: Organization) -> None:
    assert browser.post("/logout").status_code == 302
    assert "_auth_user_id" not in browser.session


def test_the_site_demands_it_of_everybody(browser: Client, write_config: Callable[[str], Any]) -> None:
    write_config("")
    assert browser.get("/").status_code == 200
    write_config(EVERYBODY)
    assert browser.get("/").status_code == 302
    assert "required by this site" in browser.get("/account/second-factor").content.decode()


def test_the_site_may_demand_it_of_superusers_alone(
    browser: Client, root: User, write_config: Callable[[str], Any]
) -> None:
    write_config("second_factor:\n  required_of: superusers\n")
    assert browser.get("/").status_code == 200
    browser.force_login(root)
    assert browser.get("/admin/").status_code == 302


def test_the_key_of_who_has_one_at_the_identity_provider_is_taken(
    client: Client, alice: User, strict: Organization
) -> None:
    link = SocialAccount.objects.create(user=alice, provider="https://id.example.org", uid="17")
    assert client.get("/api/account", headers=key_of(alice)).status_code == 403
    SocialAccount.objects.filter(pk=link.pk).update(extra_data={"second_factor": True})
    assert client.get("/api/account", headers=key_of(alice)).status_code == 200


def test_load_balancers_are_not_asked(client: Client, strict: Organization) -> None:
    assert client.get("/api/cloud/health/live").status_code == 200


def test_the_key_of_a_program_is_taken(
    client: Client, acme: Organization, strict: Organization, write_config: Callable[[str], Any]
) -> None:
    write_config(EVERYBODY)
    program = make_user("acme:ci", acme, Role.RESEARCHER)
    ServiceAccount.objects.create(user=program, organization=acme, name="ci")
    assert client.get("/api/cloud/jobs", headers=key_of(program)).status_code == 200
