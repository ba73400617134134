"""Sign-ins, passwords and keys that are tried too often."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.adapter import REFUSAL
from cloudtrain_site.models import ApiKey

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
PASSWORD = "unused-password"


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """To be hashed in no time: these tests hash hundreds."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [time.time()]
    monkeypatch.setattr("cloudtrain_site.limits.brakes.time.time", lambda: clock[0])
    return clock


def sign_in(client: Client, login: str, password: str, address: str = "192.0.2.1") -> Any:
    return client.post("/login", {"login": login, "password": password}, REMOTE_ADDR=address)


def test_after_five_wrong_passwords_the_right_one_waits_too(alice: User, now: list[float]) -> None:
    for _ in range(5):
        assert sign_in(Client(), "alice", "wrong").status_code == 200
    refused = sign_in(Client(), "alice", PASSWORD)
    assert (refused.status_code, refused["Retry-After"]) == (429, "1")
    assert "Try again in 1 second." in refused.content.decode()
    now[0] += 1
    assert sign_in(Client(), "alice", PASSWORD).status_code == 302


@pytest.mark.parametrize("login", ["alice", "nobody", "dora"])
def test_a_pause_says_nothing_of_who_there_is(alice: User, now: list[float], login: str) -> None:
    User.objects.create_user("dora", password=PASSWORD, is_active=False)
    answers = [sign_in(Client(), login, "wrong") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2


def test_a_browser_in_which_one_signed_in_before_is_not_stopped_by_others(alice: User, now: list[float]) -> None:
    hers = Client()
    sign_in(hers, "alice", PASSWORD)
    hers.post("/logout")
    for number in range(30):
        sign_in(Client(), "alice", "wrong", f"198.51.100.{number}")
        sign_in(Client(), f"nobody{number}", "wrong")
    assert sign_in(Client(), "alice", PASSWORD).status_code == 429
    assert sign_in(hers, "alice", PASSWORD).status_code == 302


def test_that_browser_is_counted_by_itself(alice: User, now: list[float]) -> None:
    hers = Client()
    sign_in(hers, "alice", PASSWORD)
    hers.post("/logout")
    codes = [sign_in(hers, "alice", "wrong").status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]
    assert sign_in(Client(), "alice", PASSWORD).status_code == 302


def test_a_browser_of_one_person_is_none_of_anothers(alice: User, bob: User, now: list[float]) -> None:
    his = Client()
    sign_in(his, "bob", PASSWORD)
    his.post("/logout")
    assert [sign_in(his, "alice", "wrong").status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_changed_password_makes_the_browsers_strangers(alice: User, now: list[float]) -> None:
    stolen = Client()
    sign_in(stolen, "alice", PASSWORD)
    stolen.post("/logout")
    alice.set_password("another-password")
    alice.save()
    assert [sign_in(stolen, "alice", PASSWORD).status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_forged_browser_is_a_stranger(alice: User, now: list[float]) -> None:
    forger = Client()
    forger.cookies["browser"] = '["x",{"1":"y"}]:1abcde:signature'
    assert [sign_in(forger, "alice", "wrong").status_code for _ in range(6)] == [200] * 5 + [429]


def test_one_address_is_paused_over_many_accounts(now: list[float], alice: User) -> None:
    codes = [sign_in(Client(), f"nobody{number}", "wrong").status_code for number in range(21)]
    assert codes == [200] * 20 + [429]
    assert sign_in(Client(), "alice", PASSWORD).status_code == 429
    assert sign_in(Client(), "alice", PASSWORD, "198.51.100.1").status_code == 302


def test_the_admins_door_has_the_same_brakes(alice: User, now: list[float]) -> None:
    for _ in range(5):
        sign_in(Client(), "alice", "wrong")
    form = {"username": "alice", "login": "alice", "password": PASSWORD}
    assert Client().post("/admin/login/", form, follow=True).status_code == 200
    assert Client().post("/admin/login/", form).status_code == 302
    assert sign_in(Client(), "alice", PASSWORD).status_code == 429


def test_the_log_counts_and_has_neither_the_password_nor_an_unknown_name(
    alice: User, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    sign_in(Client(), "alice", "planted-one")
    sign_in(Client(), "planted-two", "planted-three")
    lines = [line for line in caplog.records if line.message == "Sign-in failed"]
    assert all(line.levelno == logging.WARNING for line in lines)
    assert [(line.user, line.failures_of_account, line.failures_of_address) for line in lines] == [  # type: ignore[attr-defined]
        ("alice", 1, 1),
        (None, 1, 2),
    ]
    assert "planted" not in "".join(str(line.__dict__) for line in caplog.records)


def test_a_storm_does_not_fill_the_log(alice: User, now: list[float], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(25):
        sign_in(Client(), "alice", "wrong")
    warnings = [line.message for line in caplog.records if line.levelno >= logging.WARNING]
    assert warnings == ["Sign-in failed"] * 5 + ["Attempts are refused"]


class TestKeys:
    def test_too_many_wrong_ones_from_one_address_are_told_to_wait(self, alice: User, now: list[float]) -> None:
        def ask(path: str = "/api/cloud/jobs", **headers: str) -> Any:
            return Client().get(path, headers=headers, REMOTE_ADDR="192.0.2.1")

        wrong = "ct_" + "0" * 64
        codes = [ask(**{"X-API-Key": wrong}).status_code for _ in range(20)]
        assert codes == [401] * 20
        for refused in (ask(Authorization=f"Bearer {wrong}"), ask("/api/events", **{"X-API-Key": "x"})):
            assert (refused.status_code, refused["Retry-After"]) == (429, "1")
            assert refused.json()["code"] == "too_many_attempts"
        _, key = ApiKey.objects.create(user=alice)
        assert ask(**{"X-API-Key": key}).status_code == 200

    def test_the_guess_is_not_in_the_log(self, db: None, caplog: pytest.LogCaptureFixture) -> None:
        Client().get("/api/cloud/jobs", headers={"X-API-Key": "planted-guess"})
        assert "An API key was refused" in caplog.messages
        assert "planted" not in "".join(str(line.__dict__) for line in caplog.records)


def test_the_page_of_a_refused_sign_in_is_that_of_nobody(alice: User, now: list[float]) -> None:
    for _ in range(5):
        sign_in(Client(), "alice", "wrong")
    page = sign_in(Client(), "alice", PASSWORD).content.decode()
    assert "Too many attempts" in page
    assert REFUSAL not in page
    assert "alice" not in page
