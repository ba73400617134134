"""The theme: chosen by a person, kept by the browser, and on every page from its first paint on."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.preferences import change_preferences, preferences_of

pytestmark = pytest.mark.django_db
DARK = '<meta name="color-scheme" content="dark">'
SYSTEM = '<meta name="color-scheme" content="light dark">'


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def test_a_choice_holds_for_the_dashboard_the_admin_and_the_sign_in(as_root: Client, root: User) -> None:
    assert SYSTEM in as_root.get("/").content.decode()
    answer = as_root.post("/account/theme", {"theme": "dark"}, headers={"Referer": "http://testserver/account"})
    assert (answer.status_code, answer["Location"]) == (302, "http://testserver/account")
    assert preferences_of(root).theme == "dark"
    for address in ("/account", "/admin/"):
        assert DARK in as_root.get(address).content.decode()
    as_root.post("/logout")
    assert DARK in as_root.get("/login").content.decode()


def test_another_browser_takes_it_over_and_gives_it_up(client: Client, root: User) -> None:
    change_preferences(root, theme="light")
    client.force_login(root)
    assert client.get("/").cookies["theme"].value == "light"
    change_preferences(root, theme="")
    assert client.get("/").cookies["theme"]["max-age"] == 0


def test_a_theme_that_is_none_changes_nothing(as_root: Client, root: User) -> None:
    answer = as_root.post("/account/theme", {"theme": "pink"})
    assert answer.status_code == 400
    assert preferences_of(root).theme == ""
    stranger = Client()
    stranger.cookies["theme"] = "pink"
    assert SYSTEM in stranger.get("/login").content.decode()


def test_leads_back_within_the_site_only(as_root: Client) -> None:
    answer = as_root.post("/account/theme", {"theme": "dark"}, headers={"Referer": "https://elsewhere.example.org/"})
    assert answer["Location"] == "/"


def test_is_nobodys_without_a_user(client: Client) -> None:
    answer = client.post("/account/theme", {"theme": "dark"})
    assert answer["Location"].startswith("/login")
    assert "theme" not in client.cookies
