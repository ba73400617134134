"""A page asks as the one whom it was made for."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(alice: User) -> Client:
    """Alice is signed in there."""
    client = Client()
    client.force_login(alice)
    return client


@pytest.mark.parametrize("address", ["/session", "/jobs/rows", "/api/cloud/jobs", "/"])
def test_her_own_page_is_answered_and_somebody_elses_is_not(
    browser: Client, alice: User, bob: User, address: str
) -> None:
    assert browser.get(address, headers={"X-Reader": str(alice.pk)}).status_code in (200, 204)
    refused = browser.get(address, headers={"X-Reader": str(bob.pk)})
    assert refused.status_code == 401
    assert refused.json()["code"] == "not_authenticated"


def test_who_names_no_reader_is_answered(browser: Client) -> None:
    assert browser.get("/api/cloud/jobs").status_code == 200


def test_the_page_of_nobody_is_refused(client: Client, alice: User) -> None:
    assert client.get("/session", headers={"X-Reader": str(alice.pk)}).status_code == 401
    assert client.get("/session").status_code == 401


def test_the_stream_says_it_in_its_address(browser: Client, bob: User) -> None:
    assert browser.get(f"/api/events?reader={bob.pk}").status_code == 401
    assert browser.get(f"/jobs/rows?reader={bob.pk}").status_code == 200
