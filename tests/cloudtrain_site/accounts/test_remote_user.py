"""A proxy's header says who somebody is: from a trusted proxy alone, by its exact name, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts import remote_user
from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.states import Actor
from jobs.models import Organization
from tests.one_time_codes import app_of, code_of

pytestmark = pytest.mark.slow

HERE = "remote_user:\n  header: Remote-User\n  proxies: [127.0.0.1]\n"
ELSEWHERE = HERE.replace("127.0.0.1", "10.0.0.5")


@pytest.fixture
def proxy(web_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client on this machine, which the configuration may trust as a proxy."""
    monkeypatch.setattr(remote_user, "_logged_peers", set())
    with httpx.Client(base_url=web_server) as client:
        yield client


def name_of(answer: httpx.Response) -> str:
    """Who the API says that one is; empty: nobody."""
    return str(answer.json().get("username", ""))


def account(proxy: httpx.Client, headers: Any = None) -> httpx.Response:
    return proxy.get("/api/account", headers=headers)


def test_whom_the_proxy_names_is_signed_in(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]
) -> None:
    write_config(HERE)
    assert proxy.get("/", headers={"Remote-User": "alice"}).status_code == 200
    assert name_of(account(proxy, {"Remote-User": "alice"})) == "alice"


def test_without_the_setting_nothing_reads_the_header(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]
) -> None:
    write_config("")
    assert account(proxy, {"Remote-User": "alice"}).status_code == 401


@pytest.mark.parametrize("forwarded", [{}, {"X-Forwarded-For": "10.0.0.5"}, {"Forwarded": "for=10.0.0.5"}])
def test_from_elsewhere_it_is_ignored_and_logged(
    proxy: httpx.Client,
    alice: User,
    write_config: Callable[[str], Any],
    forwarded: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_config(ELSEWHERE)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert account(proxy, {"Remote-User": "alice", **forwarded}).status_code == 401
    told = [record for record in caplog.records if "no trusted proxy" in record.getMessage()]
    assert [record.peer for record in told] == ["127.0.0.1"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["Remote_User", "remote_user", "HTTP_REMOTE_USER", "REMOTE-USER-", "X-Remote-User"])
def test_another_name_is_not_taken_for_it(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any], name: str
) -> None:
    write_config(HERE)
    assert account(proxy, {name: "alice"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("Remote-User", "alice"), ("Remote-User", "root")],
        [("Remote-User", "alice"), ("remote-user", "alice")],
        [("Remote-User", "x" * 151)],
        [("Remote-User", b"\xff\xfe")],
    ],
)
def test_what_no_proxy_should_send_is_refused(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any], headers: list[tuple[str, Any]]
) -> None:
    write_config(HERE)
    assert account(proxy, headers).status_code == 403
    assert proxy.get("/", headers=headers).status_code == 403


@pytest.mark.parametrize("right", ["is_superuser", "is_staff"])
def test_superusers_and_staff_are_not_named_unless_allowed(
    proxy: httpx.Client, root: User, write_config: Callable[[str], Any], right: str
) -> None:
    User.objects.filter(pk=root.pk).update(**{"is_superuser": False, "is_staff": False, right: True})
    write_config(HERE)
    assert account(proxy, {"Remote-User": "root"}).status_code == 403
    write_config(HERE + "  superusers: true\n")
    assert name_of(account(proxy, {"Remote-User": "root"})) == "root"


def test_a_deactivated_account_stays_out(proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]) -> None:
    write_config(HERE)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    answer = proxy.get("/", headers={"Remote-User": "alice"})
    assert answer.status_code == 403
    assert "deactivated" in answer.text


def test_an_account_is_made_only_where_that_is_said(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]
) -> None:
    write_config(HERE)
    assert account(proxy, {"Remote-User": "newcomer"}).status_code == 403
    assert not User.objects.filter(username="newcomer").exists()
    write_config(HERE + "  new_accounts: true\n")
    assert name_of(account(proxy, {"Remote-User": "newcomer"})) == "newcomer"
    assert not User.objects.get(username="newcomer").has_usable_password()
    assert AuditRecord.objects.get(action="user_made").actor == "proxy"
    assert account(proxy, {"Remote-User": "new comer<"}).status_code == 403


def test_who_is_named_no_longer_is_signed_out(
    proxy: httpx.Client, alice: User, bob: User, write_config: Callable[[str], Any]
) -> None:
    write_config(HERE)
    assert name_of(account(proxy, {"Remote-User": "alice"})) == "alice"
    assert name_of(account(proxy, {"Remote-User": "bob"})) == "bob"
    assert account(proxy).status_code == 401


def test_a_session_by_password_stays_without_the_header(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]
) -> None:
    write_config(HERE)
    browser = Client()
    browser.force_login(alice)
    proxy.cookies.set("sessionid", browser.cookies["sessionid"].value)
    assert name_of(account(proxy)) == "alice"


def test_a_key_says_who_asks_whatever_the_header_says(
    proxy: httpx.Client, alice: User, bob: User, write_config: Callable[[str], Any]
) -> None:
    write_config(HERE)
    _, key = issue_key(bob, "ci", timedelta(days=1), by=Actor.of(bob))
    assert name_of(account(proxy, {"Remote-User": "alice", "X-API-Key": key})) == "bob"


def test_a_second_factor_is_asked_for(proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]) -> None:
    write_config(HERE)
    secret = app_of(alice)
    headers = {"Remote-User": "alice"}
    answer = proxy.get("/", headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login/second-step")
    assert account(proxy, headers).status_code == 401
    proxy.get("/", headers=headers)
    page = proxy.get("/login/second-step", headers=headers)
    token = {"csrfmiddlewaretoken": page.text.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]}
    answer = proxy.post("/login/second-step", data={"code": code_of(secret), **token}, headers=headers)
    assert answer.status_code == 302, answer.text
    assert name_of(account(proxy, headers)) == "alice"


@pytest.mark.parametrize(("more", "status"), [("", 403), ("  second_factor: true\n", 200)])
def test_a_demanded_one_may_be_the_proxys(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any], more: str, status: int
) -> None:
    write_config(HERE + more)
    Organization.objects.update(second_factor_required=True)
    assert account(proxy, {"Remote-User": "alice"}).status_code == status


def test_who_is_only_named_can_set_up_a_demanded_one(
    proxy: httpx.Client, alice: User, write_config: Callable[[str], Any]
) -> None:
    write_config(HERE)
    User.objects.filter(pk=alice.pk).update(password="!")
    Organization.objects.update(second_factor_required=True)
    answer = proxy.get("/", headers={"Remote-User": "alice"})
    assert answer.headers["Location"].startswith("/account/second-factor")
    assert proxy.get("/account/second-factor/app", headers={"Remote-User": "alice"}).status_code == 200
