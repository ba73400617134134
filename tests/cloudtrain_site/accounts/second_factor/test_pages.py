"""Second factors: set up, asked for, used once, removed; and that nothing of it lies about in clear."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client, override_settings
from django_q.models import OrmQ

from cloudtrain_site.accounts import tasks
from cloudtrain_site.audit.models import AuditRecord
from tests.one_time_codes import app_of, code_of, wrong_code

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

PASSWORD = "a long pass phrase"


@pytest.fixture
def vera() -> User:
    return User.objects.create_user("vera", "vera@example.org", PASSWORD)


@pytest.fixture
def browser(vera: User, client: Client) -> Client:
    """Vera's, signed in."""
    client.force_login(vera)
    return client


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def type_password(client: Client) -> Any:
    return client.post("/login", {"login": "vera", "password": PASSWORD})


def confirm(browser: Client, next_url: str) -> Any:
    return browser.post(f"/account/confirm?next={next_url}", {"password": PASSWORD, "next": next_url})


def set_up_app(browser: Client) -> tuple[str, list[str]]:
    """Set up an app as a person does. Returns its secret and the recovery codes."""
    confirm(browser, "/account/second-factor/app")
    page = browser.get("/account/second-factor/app").content.decode()
    found = re.search(r'<code class="secret">([A-Z2-7]+)</code>', page)
    assert found, page
    secret = found[1]
    answer = browser.post("/account/second-factor/app", {"code": code_of(secret)})
    assert answer["Location"] == "/account/second-factor/codes", answer.content.decode()
    codes = re.findall(r"<code>(\d{8})</code>", browser.get(answer["Location"]).content.decode())
    assert len(codes) == 10
    return secret, codes


class TestSettingUp:
    @pytest.mark.parametrize(
        "address",
        [
            "/account/second-factor/app",
            "/account/second-factor/passkeys/new",
            "/account/second-factor/codes/new",
        ],
    )
    def test_the_password_is_asked_for_first(self, browser: Client, address: str) -> None:
        answer = browser.get(address)
        assert answer["Location"] == f"/account/confirm?next={address.replace('/', '%2F')}"
        assert browser.post(address, {"code": "123456"})["Location"].startswith("/account/confirm")
        assert not Authenticator.objects.exists()

    def test_an_app_is_set_up_with_its_first_code(self, browser: Client, vera: User) -> None:
        set_up_app(browser)
        kinds = set(Authenticator.objects.filter(user=vera).values_list("type", flat=True))
        assert kinds == {"totp", "recovery_codes"}
        [row] = AuditRecord.objects.filter(action="second_factor_added")
        assert (row.actor, row.after) == ("vera", {"kind": "app"})

    def test_the_owner_reads_of_it_by_mail(self, browser: Client, django_capture_on_commit_callbacks: Any) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            set_up_app(browser)
        [queued] = OrmQ.objects.all()
        assert tasks.send_news(*queued.task["args"]) == 1
        [sent] = mail.outbox
        assert sent.to == ["vera@example.org"]
        assert "from the address 127.0.0.1: app added." in sent.body

    def test_a_wrong_code_sets_up_nothing(self, browser: Client) -> None:
        confirm(browser, "/account/second-factor/app")
        page = browser.get("/account/second-factor/app").content.decode()
        secret = re.search(r'<code class="secret">([A-Z2-7]+)</code>', page)
        assert secret
        answer = browser.post("/account/second-factor/app", {"code": wrong_code(secret[1])})
        assert answer.status_code == 200
        assert not Authenticator.objects.exists()
        # The key stays, so that the app need not be set up again.
        assert secret[1] in answer.content.decode()

    def test_the_recovery_codes_are_shown_once(self, browser: Client) -> None:
        _, codes = set_up_app(browser)
        again = browser.get("/account/second-factor/codes").content.decode()
        assert not any(code in again for code in codes)
        assert "10 of 10 are left" in again

    def test_no_secret_is_stored_in_clear(self, browser: Client) -> None:
        confirm(browser, "/account/second-factor/app")
        page = browser.get("/account/second-factor/app").content.decode()
        secret = re.search(r'<code class="secret">([A-Z2-7]+)</code>', page)
        assert secret
        assert not any(secret[1] in str(session.get_decoded()) for session in Session.objects.all())
        browser.post("/account/second-factor/app", {"code": code_of(secret[1])})
        codes = re.findall(r"<code>(\d{8})</code>", browser.get("/account/second-factor/codes").content.decode())
        stored = str(list(Authenticator.objects.values_list("data", flat=True)))
        assert not any(text in stored for text in [secret[1], *codes])

    def test_removing_it_asks_for_the_password_and_is_on_record(self, browser: Client, vera: User) -> None:
        app_of(vera)
        assert browser.post("/account/second-factor/app/remove")["Location"].startswith("/account/confirm")
        assert Authenticator.objects.exists()
        # The form that was sent goes on by itself.
        assert confirm(browser, "/account/second-factor/app/remove")["Location"] == "/account/second-factor"
        assert not Authenticator.objects.exists()
        assert AuditRecord.objects.get(action="second_factor_removed").after == {"kind": "app"}

    def test_another_persons_passkey_is_not_there(self, browser: Client) -> None:
        other = User.objects.create_user("otto")
        passkey = Authenticator.objects.create(user=other, type="webauthn", data={"name": "Passkey", "credential": {}})
        address = f"/account/second-factor/passkeys/{passkey.pk}/remove"
        confirm(browser, address)
        assert browser.get(address).status_code == 404
        assert browser.post(address).status_code == 404
        assert Authenticator.objects.filter(pk=passkey.pk).exists()

    def test_nobody_else_sees_these_pages(self, client: Client) -> None:
        for address in ("", "/app", "/app/remove", "/passkeys", "/passkeys/new", "/codes", "/codes/new"):
            answer = client.get(f"/account/second-factor{address}")
            assert answer.status_code in (302, 404)
            assert "/login" in answer.get("Location", "/login")


class TestSigningIn:
    def test_the_password_alone_is_not_enough(self, client: Client, vera: User) -> None:
        app_of(vera)
        assert type_password(client)["Location"] == "/login/second-step"
        assert not is_signed_in(client)
        assert client.get("/").status_code == 302
        assert client.get("/api/account").status_code == 401

    def test_the_code_of_the_app_lets_in(self, client: Client, vera: User) -> None:
        secret = app_of(vera)
        type_password(client)
        assert client.post("/login/second-step", {"code": code_of(secret)})["Location"] == "/"
        assert is_signed_in(client)

    def test_a_code_works_once(self, client: Client, vera: User) -> None:
        secret = app_of(vera)
        type_password(client)
        client.post("/login/second-step", {"code": code_of(secret)})
        second = Client()
        type_password(second)
        answer = second.post("/login/second-step", {"code": code_of(secret)})
        assert "Incorrect code" in answer.content.decode()
        assert not is_signed_in(second)
        # Nor does one that came before it.
        assert second.post("/login/second-step", {"code": code_of(secret, -1)}).status_code == 200
        assert not is_signed_in(second)
        assert second.post("/login/second-step", {"code": code_of(secret, 1)}).status_code == 302

    def test_the_code_that_set_up_the_app_does_not_sign_in(self, browser: Client) -> None:
        secret, _ = set_up_app(browser)
        second = Client()
        type_password(second)
        second.post("/login/second-step", {"code": code_of(secret)})
        assert not is_signed_in(second)

    def test_a_recovery_code_lets_in_once(self, browser: Client) -> None:
        _, codes = set_up_app(browser)
        for expected in (True, False):
            client = Client()
            type_password(client)
            client.post("/login/second-step", {"code": codes[3]})
            assert is_signed_in(client) is expected

    def test_without_the_password_there_is_no_second_step(self, client: Client, vera: User) -> None:
        secret = app_of(vera)
        assert client.post("/login/second-step", {"code": code_of(secret)})["Location"] == "/login"
        assert not is_signed_in(client)

    def test_many_wrong_codes_get_a_pause_that_the_right_one_has_too(self, client: Client, vera: User) -> None:
        secret = app_of(vera)
        type_password(client)
        answers = [client.post("/login/second-step", {"code": wrong_code(secret)}).status_code for _ in range(8)]
        assert answers[0] == 200
        assert answers[-1] == 429
        assert client.post("/login/second-step", {"code": code_of(secret)}).status_code == 429
        assert not is_signed_in(client)

    def test_a_changed_key_of_the_site_is_a_sentence(self, client: Client, vera: User) -> None:
        app_of(vera)
        with override_settings(SECRET_KEY="another-key-of-the-site-with-length"):
            type_password(client)
            answer = client.post("/login/second-step", {"code": "123456"})
        assert "key was changed" in answer.content.decode()

    @pytest.mark.parametrize(
        "credential",
        [
            "[" * 40_000,
            '{"a": ' * 9000,
            "x" * 60_000,
            "",
            "{}",
            "[]",
            "null",
            "17",
            '"x"',
            '{"response": 3}',
            '{"id": "a"}',
            "{",
        ],
    )
    @pytest.mark.parametrize("address", ["/login/second-step", "/login/passkey"])
    def test_what_is_no_passkey_lets_nobody_in(self, client: Client, vera: User, address: str, credential: str) -> None:
        app_of(vera)
        type_password(client)
        client.get("/login/passkey")
        assert client.post(address, {"credential": credential}).status_code in (200, 302)
        assert not is_signed_in(client)

    def test_without_local_passwords_there_is_no_sign_in_with_a_passkey(
        self, client: Client, write_config: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, vera: User
    ) -> None:
        monkeypatch.setenv("SSO_SECRET", "not-a-real-secret")
        lines = "  issuer: https://id.example.org\n  client_id: x\n  client_secret: ${SSO_SECRET}\n  domains: [a.org]\n"
        write_config(f"sso:\n{lines}  local_passwords: off\n")
        assert client.get("/login/passkey").status_code == 404
        assert client.post("/login/passkey", {"credential": "{}"}).status_code == 404
        assert 'name="password"' not in client.get("/login").content.decode()
        type_password(client)
        assert not is_signed_in(client)
