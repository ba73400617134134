"""The page of a new job without a browser: who gets it, and what it offers."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Membership, Organization
from jobs.roles import Role
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def get(user: User, address: str = "/jobs/new") -> Any:
    client = Client()
    client.force_login(user)
    return client.get(address)


def test_nobody_is_sent_to_the_login(client: Client) -> None:
    assert client.get("/jobs/new")["Location"] == "/login?next=/jobs/new"


def test_who_may_submit_nowhere_is_refused_and_not_led_there(acme: Organization) -> None:
    for user in (factories.make_user("vera", acme, Role.VIEWER), factories.make_user("dora")):
        assert get(user).status_code == 403
        assert b"/jobs/new" not in get(user, "/").content


def test_offers_the_organizations_in_which_one_may_submit(alice: User, charlie: User) -> None:
    one = get(alice).content.decode()
    assert '<input type="hidden" id="organization" value="acme">' in one
    assert "other" not in one
    viewed, second = (Organization.objects.create(name=name) for name in ("viewed", "second"))
    Membership.objects.create(user=alice, organization=viewed, role=Role.VIEWER)
    Membership.objects.create(user=alice, organization=second, role=Role.RESEARCHER)
    several = get(alice).content.decode()
    assert "<option>acme</option><option>second</option>" in several
    assert "viewed" not in several


def test_the_list_leads_there(alice: User) -> None:
    assert b'href="/jobs/new"' in get(alice, "/").content
