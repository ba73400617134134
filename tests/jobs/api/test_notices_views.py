"""What became of notices, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.notices.sending import send_due
from jobs.models import Organization
from jobs.roles import Role
from tests.cloudtrain_site.notices.conftest import kinds  # noqa: F401 - kinds of the tests' own
from tests.factories import make_user

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
ADDRESS = "/api/notices/deliveries"


@pytest.fixture
def sent(alice: User, acme: Organization, mailoutbox: list[Any]) -> User:
    """A notice to alice and to a list of her organization's; returns the organization's admin."""
    ada = make_user("ada", acme, Role.ADMIN)
    add_channel(Owner(organization=acme, by=ada), "mail", addresses=["list@example.org"])
    audience = Audience(users=[alice.pk], organization_id=acme.pk)
    store("tide", key="k", subject="flux failed: out of memory", audience=audience)
    assert send_due() == 2
    return ada


def test_one_sees_one_s_own(client_of: ClientOf, alice: User, bob: User, sent: User) -> None:
    (delivery,) = client_of(alice).get(ADDRESS).json()["deliveries"]
    assert (delivery["kind"], delivery["channel"], delivery["to"]) == ("tide", "mail", "alice@example.org")
    assert (delivery["state"], delivery["tries"], delivery["next_attempt_at"]) == ("sent", 1, None)
    assert delivery["subject"] == "flux failed: out of memory"
    assert client_of(bob).get(ADDRESS).json() == {"deliveries": [], "next_cursor": None}


def test_admins_see_their_organization_s(client_of: ClientOf, sent: User) -> None:
    (delivery,) = client_of(sent).get(f"{ADDRESS}?organization=acme").json()["deliveries"]
    assert delivery["to"] == "list@example.org"


def test_others_do_not(client_of: ClientOf, alice: User, charlie: User, sent: User) -> None:
    assert client_of(alice).get(f"{ADDRESS}?organization=acme").status_code == 403
    assert client_of(charlie).get(f"{ADDRESS}?organization=acme").status_code == 400
    assert client_of(None).get(ADDRESS).status_code == 401


def test_they_are_filtered_and_come_in_pages(client_of: ClientOf, alice: User, sent: User) -> None:
    for number in range(3):
        store("tide", key=f"k{number}", subject="flux", audience=Audience(users=[alice.pk]))
    send_due()
    first = client_of(alice).get(f"{ADDRESS}?limit=3").json()
    rest = client_of(alice).get(f"{ADDRESS}?limit=3&cursor={first['next_cursor']}").json()
    assert (len(first["deliveries"]), len(rest["deliveries"]), rest["next_cursor"]) == (3, 1, None)
    assert len(client_of(alice).get(f"{ADDRESS}?state=waiting").json()["deliveries"]) == 3
    answer = client_of(alice).get(f"{ADDRESS}?state=lost")
    assert (answer.status_code, "state" in answer.json()["errors"]) == (400, True)
    assert client_of(alice).get(f"{ADDRESS}?sort=x").status_code == 400
