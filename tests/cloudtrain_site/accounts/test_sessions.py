"""Sessions: listed, ended one by one, and over after a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.utils import timezone

from cloudtrain_site.accounts.sessions import SessionMiddleware, is_use, sessions_of
from cloudtrain_site.accounts.user_agents import browser_name
from cloudtrain_site.tasks import housekeep
from tests.web import open_stream

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudtrain_site.accounts.sessions.LOOK_SECONDS", 0.0)
    SessionMiddleware.looks.clear()


def browser_of(user: User, **headers: str) -> Client:
    """A browser in which the user is signed in, after its first page."""
    client = Client(headers=headers)
    client.force_login(user)
    assert client.get("/account").status_code == 200
    return client


def is_signed_in(client: Client) -> bool:
    return client.get("/account").status_code == 200


def row_of(client: Client) -> UserSession:
    row = UserSession.objects.get(session_key=client.session.session_key)
    assert isinstance(row, UserSession)
    return row


def move_back(client: Client, **by: timedelta) -> None:
    row = row_of(client)
    columns = {name: getattr(row, name) - delta for name, delta in by.items()}
    UserSession.objects.filter(pk=row.pk).update(**columns)


def test_the_account_page_lists_them(alice: User, bob: User) -> None:
    browser_of(bob)
    browser_of(alice, **{"User-Agent": FIREFOX})
    here = browser_of(alice)
    page = here.get("/account").content.decode()
    assert "Firefox on Linux" in page
    assert page.count("this browser") == 1
    assert page.count('name="session"') == 2  # the other one, and all others
    assert [one.is_this_one for one in sessions_of(alice, here.session.session_key)] == [True, False]


def test_one_is_ended_and_the_others_stay(alice: User) -> None:
    here, there, elsewhere = browser_of(alice), browser_of(alice), browser_of(alice)
    answer = here.post("/account/sessions", {"session": row_of(there).pk})
    assert answer["Location"] == "/account?ended=1#sessions"
    assert [is_signed_in(one) for one in (here, there, elsewhere)] == [True, False, True]


def test_all_others_are_ended(alice: User, bob: User) -> None:
    here, there, elsewhere, his = browser_of(alice), browser_of(alice), browser_of(alice), browser_of(bob)
    here.post("/account/sessions", {"session": "others"})
    assert [is_signed_in(one) for one in (here, there, elsewhere, his)] == [True, False, False, True]


@pytest.mark.parametrize("session", ["", "x", "-1", "9" * 30, "²", "999999"])
def test_there_is_none_like_that(alice: User, session: str) -> None:
    here, there = browser_of(alice), browser_of(alice)
    assert here.post("/account/sessions", {"session": session}).status_code == 404
    assert is_signed_in(there)


def test_nobody_ends_anothers(alice: User, bob: User) -> None:
    here, his = browser_of(alice), browser_of(bob)
    assert here.post("/account/sessions", {"session": row_of(his).pk}).status_code == 404
    assert is_signed_in(his)


def test_a_session_ends_with_its_sign_out(alice: User) -> None:
    here = browser_of(alice)
    here.post("/logout")
    assert not UserSession.objects.exists()


def test_one_that_is_not_used_ends_after_a_day(alice: User) -> None:
    here, there = browser_of(alice), browser_of(alice)
    move_back(here, last_seen_at=23 * HOUR)
    move_back(there, last_seen_at=25 * HOUR)
    assert [is_signed_in(one) for one in (here, there)] == [True, False]
    assert timezone.now() - row_of(here).last_seen_at < HOUR
    assert UserSession.objects.count() == 1


def test_one_that_is_used_each_day_ends_after_two_weeks(alice: User) -> None:
    here, there = browser_of(alice), browser_of(alice)
    move_back(here, created_at=24 * 13.9 * HOUR)
    move_back(there, created_at=24 * 14.1 * HOUR)
    assert [is_signed_in(one) for one in (here, there)] == [True, False]


def test_the_limits_are_the_settings(alice: User, settings: Any) -> None:
    settings.SESSION_IDLE_SECONDS = 3600
    here = browser_of(alice)
    move_back(here, last_seen_at=2 * HOUR)
    assert not is_signed_in(here)


def test_an_open_page_is_no_use(alice: User) -> None:
    here = browser_of(alice)
    move_back(here, last_seen_at=23 * HOUR)
    here.get("/api/cloud/jobs")
    here.get("/session", headers={"X-Reader": str(alice.pk)})
    move_back(here, last_seen_at=2 * HOUR)
    assert here.get("/api/cloud/jobs").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "used"),
    [
        ("get", "/", {}, True),
        ("post", "/api/cloud/jobs/x/cancel", {"X-Reader": "1"}, True),
        ("get", "/jobs/rows", {"X-Reader": "1"}, False),
        ("get", "/api/events", {}, False),
        ("head", "/session", {"X-Reader": "1"}, False),
    ],
)
def test_what_counts_as_use(rf: RequestFactory, method: str, path: str, headers: dict[str, str], used: bool) -> None:
    assert is_use(getattr(rf, method)(path, headers=headers)) is used


def test_a_session_of_before_is_listed_from_its_first_request_on(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert not UserSession.objects.exists()
    assert is_signed_in(client)
    assert row_of(client).user == alice


@pytest.mark.parametrize("address", ["", "unix:", "::1", "192.0.2.1"])
def test_any_address_can_be_stored(alice: User, address: str) -> None:
    client = Client()
    client.force_login(alice)
    assert client.get("/account", REMOTE_ADDR=address).status_code == 200
    assert UserSession.objects.count() == 1


def test_what_is_over_is_deleted(alice: User) -> None:
    stays, idle = browser_of(alice), browser_of(alice)
    move_back(idle, last_seen_at=25 * HOUR)
    assert housekeep()["overdue_sessions"] == 2  # the session, and what was listed about it
    assert list(Session.objects.values_list("pk", flat=True)) == [stays.session.session_key]
    assert UserSession.objects.count() == 1


def test_a_look_is_taken_once_a_minute(
    alice: User, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr("cloudtrain_site.accounts.sessions.LOOK_SECONDS", 60.0)
    here = browser_of(alice)
    here.get("/session")
    with django_assert_num_queries(2):  # the session and its user
        assert here.get("/session").status_code == 204


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on an iPhone"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl"),
        ("", "An unknown browser"),
        ("<b>", "An unknown browser"),
    ],
)
def test_a_browser_is_named_as_people_know_it(text: str, name: str) -> None:
    assert browser_name(text) == name


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_streams_of_an_ended_session_end(alice: User, web_server: str) -> None:
    there = browser_of(alice)
    cookies = {name: morsel.value for name, morsel in there.cookies.items()}
    with open_stream(web_server, alice, cookies=cookies) as stream:
        here = browser_of(alice)
        here.post("/account/sessions", {"session": row_of(there).pk})
        assert stream.rest() == []
    assert not is_signed_in(there)
