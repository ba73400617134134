"""The account page without a browser: whose it is, and the change of a password."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.preferences import change_preferences
from cloudtrain_site.models import ApiKey

pytestmark = pytest.mark.django_db
OLD, NEW = "unused-password", "a-much-better-one"


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


def test_a_password_is_changed_and_other_browsers_are_signed_out(as_alice: Client, alice: User) -> None:
    elsewhere = Client()
    elsewhere.force_login(alice)
    form = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    answer = as_alice.post("/account/password", form)
    assert answer["Location"] == "/account?new-password"
    assert "The password is changed." in as_alice.get(answer["Location"]).content.decode()
    assert elsewhere.get("/account").status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(NEW)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"old_password": "a guess", "new_password1": NEW, "new_password2": NEW}, "entered incorrectly"),
        ({"old_password": OLD, "new_password1": NEW, "new_password2": "another"}, "match"),
        ({"old_password": OLD, "new_password1": "short", "new_password2": "short"}, "too short"),
    ],
)
def test_a_bad_wish_for_a_password_changes_nothing(
    as_alice: Client, alice: User, form: dict[str, str], text: str
) -> None:
    answer = as_alice.post("/account/password", form)
    assert (answer.status_code, text in answer.content.decode()) == (200, True)
    alice.refresh_from_db()
    assert alice.check_password(OLD)
