"""The account page without a browser: whose it is, and the change of a password."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.preferences import change_preferences
from cloudtrain_site.models import ApiKey
from jobs.models import Organization
from jobs.roles import Role
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def as_alice(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.mark.parametrize("address", ["/account", "/account/password"])
def test_nobody_is_sent_to_the_login(client: Client, address: str) -> None:
    assert client.get(address)["Location"] == f"/login?next={address}"


def test_a_script_is_told_instead(client: Client) -> None:
    assert client.get("/account/keys").status_code == 401


def test_shows_ones_own_keys_alone_and_only_their_beginning(as_alice: Client, alice: User, bob: User) -> None:
    ApiKey.objects.create(user=bob, name="bobs-key")
    mine, key = ApiKey.objects.create(user=alice, name="<b>mine")
    for address in ("/account", "/account/keys"):
        page = as_alice.get(address).content.decode()
        assert "&lt;b&gt;mine" in page
        assert mine.token_key in page
        assert key not in page
        assert "bobs-key" not in page


def test_every_page_says_the_zone_that_was_chosen(as_alice: Client, alice: User) -> None:
    assert b"data-zone" not in as_alice.get("/").content
    change_preferences(alice, time_zone="Asia/Tokyo")
    assert b'data-zone="Asia/Tokyo"' in as_alice.get("/").content
    assert b"<option selected>Asia/Tokyo</option>" in as_alice.get("/account").content


def test_the_bar_leads_there(as_alice: Client) -> None:
    assert b'href="/account"' in as_alice.get("/").content


def test_notices_are_chosen_in_one_place(as_alice: Client) -> None:
    page = as_alice.get("/account").content.decode()
    assert 'href="/notices"' in page
    assert "A job of mine failed" not in page
    assert "A job of mine failed" in as_alice.get("/notices").content.decode()


def test_a_new_key_has_ticked_scopes_that_its_owner_can_use(as_alice: Client, acme: Organization) -> None:
    vera = Client()
    vera.force_login(make_user("vera", acme, Role.VIEWER))
    for browser, ticked in ((as_alice, {"read", "submit"}), (vera, {"read"})):
        page = browser.get("/account").content.decode()
        assert set(re.findall(r'name="(\w+)"\s+checked', page)) == ticked
