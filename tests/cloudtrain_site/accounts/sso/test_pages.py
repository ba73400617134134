"""Signing in at an identity provider over HTTP: who gets in, and that a refusal makes nothing."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord, AuditSource
from tests.cloudtrain_site.accounts.sso.conftest import Configure, SignOn
from tests.cloudtrain_site.accounts.sso.people import nothing_was_made, signed_in
from tests.configuration import WriteConfig
from tests.openid_provider import Provider, callback_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


class TestTheWay:
    def test_without_a_provider_no_address_answers(self, write_config: WriteConfig, client: Client) -> None:
        write_config("")
        for address in ("/login/sso", "/login/sso/callback", "/account/sso/connect", "/account/sso/disconnect"):
            assert client.get(address).status_code == 404
            assert client.post(address).status_code == 404
        assert "sso" not in client.get("/login").content.decode()

    def test_the_sign_in_page_leads_there(self, configure: Configure, client: Client) -> None:
        configure()
        page = client.get("/login?next=/queue").content.decode()
        assert "Sign in with Example" in page
        assert 'href="/login/sso?next=%2Fqueue"' in page

    def test_the_request_has_all_that_binds_the_answer_to_it(
        self, configure: Configure, provider: Provider, client: Client
    ) -> None:
        configure()
        query = parse_qs(urlsplit(client.get("/login/sso")["Location"]).query)
        assert query["redirect_uri"] == ["http://testserver/login/sso/callback"]
        assert query["scope"] == ["openid profile email"]
        for name in ("state", "nonce", "code_challenge"):
            assert len(query[name][0]) > 30
        again = parse_qs(urlsplit(client.get("/login/sso")["Location"]).query)
        assert again["state"] != query["state"]

    def test_nothing_of_the_request_is_chosen_by_who_asks(self, configure: Configure, client: Client) -> None:
        configure()
        location = client.get("/login/sso?scope=admin&auth_params=prompt%3Dnone&process=connect")["Location"]
        assert "admin" not in location
        assert "prompt" not in location

    def test_a_first_sign_in_makes_an_account(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        provider.person |= {"preferred_username": "vera", "given_name": "Vera", "family_name": "Vogel"}
        answer = sign_on(client, next_url="/queue")
        assert (answer.status_code, answer["Location"]) == (302, "/queue")
        user = User.objects.get()
        assert (user.username, user.email, user.first_name) == ("vera", "vera@example.org", "Vera")
        assert not user.has_usable_password()
        assert not user.is_staff
        assert EmailAddress.objects.get().verified
        assert signed_in(client) == "vera"
        assert set(AuditRecord.objects.values_list("action", "source")) == {
            ("user_made", AuditSource.SSO),
            ("sso_connected", AuditSource.SSO),
        }

    def test_the_next_sign_in_finds_it_by_issuer_and_subject_alone(
        self, configure: Configure, sign_on: SignOn, provider: Provider
    ) -> None:
        configure()
        sign_on(Client())
        provider.person |= {"email": "renamed@example.org", "preferred_username": "other"}
        client = Client()
        sign_on(client)
        assert signed_in(client) == "vera"
        assert User.objects.count() == 1

    def test_a_name_that_is_taken_gets_a_number(self, configure: Configure, sign_on: SignOn, client: Client) -> None:
        configure()
        User.objects.create_user("Vera")
        sign_on(client)
        assert signed_in(client) == "vera-2"

    def test_the_way_back_leads_to_no_other_site(self, configure: Configure, sign_on: SignOn, client: Client) -> None:
        configure()
        assert sign_on(client, next_url="https://evil.test/")["Location"] == "/"

    def test_claims_that_the_token_lacks_come_from_userinfo(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        provider.only_in_userinfo = ("email", "email_verified")
        sign_on(client)
        assert signed_in(client) == "vera"

    def test_userinfo_of_another_subject_is_refused(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        provider.only_in_userinfo = ("email", "email_verified")
        provider.lies = {"sub": "18"}
        assert sign_on(client).status_code == 403
        assert nothing_was_made()

    def test_somebody_else_who_was_signed_in_is_signed_out_first(
        self, configure: Configure, sign_on: SignOn, client: Client
    ) -> None:
        configure()
        client.force_login(User.objects.create_user("otto"))
        sign_on(client)
        assert signed_in(client) == "vera"


class TestRefusals:
    @pytest.mark.parametrize(
        ("lies", "sentence"),
        [
            ({"iss": "https://evil.test"}, "could not be verified"),
            ({"nonce": "another"}, "could not be verified"),
            ({"exp": 1_000_000_000}, "could not be verified"),
            ({"aud": "another"}, "could not be verified"),
            ({"email_verified": False}, "has not confirmed your mail address"),
            ({"email": "vera@evil.test"}, "can&#x27;t sign in here"),
        ],
    )
    def test_a_lying_token_makes_nothing(
        self,
        configure: Configure,
        sign_on: SignOn,
        provider: Provider,
        client: Client,
        lies: dict[str, Any],
        sentence: str,
    ) -> None:
        configure()
        provider.lies = lies
        answer = sign_on(client)
        assert answer.status_code == 403
        assert sentence in answer.content.decode()
        assert nothing_was_made()
        assert not signed_in(client)

    def test_a_key_that_is_not_published_makes_nothing(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        provider.publishes = (1,)
        assert sign_on(client).status_code == 403
        assert nothing_was_made()

    def test_a_signature_with_the_shared_secret_makes_nothing(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        provider.algorithm = "HS256"
        assert sign_on(client).status_code == 403
        assert nothing_was_made()

    @pytest.mark.parametrize("changes", [{"state": "forged"}, {"state": None}, {"state": ""}])
    def test_a_state_that_this_browser_did_not_get_makes_nothing(
        self, configure: Configure, sign_on: SignOn, client: Client, changes: dict[str, Any]
    ) -> None:
        configure()
        answer = sign_on(client, **changes)
        assert answer.status_code == 400
        assert "started in another browser" in answer.content.decode()
        assert nothing_was_made()

    def test_an_answer_carried_to_another_browser_makes_nothing(
        self, configure: Configure, provider: Provider, client: Client
    ) -> None:
        configure()
        answer = callback_of(provider, client.get("/login/sso")["Location"])
        victim = Client()
        victim.get("/login/sso")
        assert victim.get(f"/login/sso/callback?{answer}").status_code == 400
        assert nothing_was_made()

    def test_an_answer_is_taken_once(self, configure: Configure, provider: Provider, client: Client) -> None:
        configure()
        answer = callback_of(provider, client.get("/login/sso")["Location"])
        assert client.get(f"/login/sso/callback?{answer}").status_code == 302
        assert client.get(f"/login/sso/callback?{answer}").status_code == 400

    def test_a_code_that_the_provider_does_not_know_makes_nothing(
        self, configure: Configure, sign_on: SignOn, client: Client
    ) -> None:
        configure()
        assert sign_on(client, code="forged").status_code == 403
        assert nothing_was_made()

    def test_an_answer_of_another_issuer_is_not_exchanged(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        assert sign_on(client, iss="https://evil.test").status_code == 403
        assert "/realm/token" not in provider.requests

    def test_who_says_no_at_the_provider_is_told_so(
        self, configure: Configure, sign_on: SignOn, client: Client
    ) -> None:
        configure()
        answer = sign_on(client, code=None, error="access_denied")
        assert answer.status_code == 403
        assert "ended the sign-in" in answer.content.decode()

    def test_metadata_of_another_issuer_is_not_used(
        self, configure: Configure, provider: Provider, client: Client
    ) -> None:
        configure()
        provider.metadata = {"issuer": "https://evil.test"}
        assert client.get("/login/sso").status_code == 503

    def test_an_endpoint_in_clear_is_not_used(self, configure: Configure, provider: Provider, client: Client) -> None:
        configure()
        provider.metadata = {"token_endpoint": "http://id.example.org/token"}
        assert client.get("/login/sso").status_code == 503

    @pytest.mark.parametrize("path", ["openid-configuration", "token", "keys"])
    def test_a_provider_that_fails_is_a_sentence(
        self, configure: Configure, provider: Provider, client: Client, path: str
    ) -> None:
        configure()
        away = client.get("/login/sso")["Location"]
        provider.failing = {path: 500}
        answer = client.get(f"/login/sso/callback?{callback_of(provider, away)}")
        assert answer.status_code == 503
        assert answer["Retry-After"]
        assert "returned an unexpected answer" in answer.content.decode()
        assert nothing_was_made()

    def test_a_provider_that_is_slow_is_given_up(
        self, configure: Configure, provider: Provider, client: Client
    ) -> None:
        configure("timeout_seconds: 1")
        provider.pause = 60
        assert client.get("/login/sso").status_code == 503

    def test_a_provider_that_is_gone_is_a_sentence(
        self, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, client: Client
    ) -> None:
        monkeypatch.setenv("SSO_SECRET", "not-a-real-secret")
        settings = {"issuer": "http://127.0.0.1:9", "client_id": "x", "client_secret": "${SSO_SECRET}"}
        lines = [f"  {key}: {value}" for key, value in settings.items()]
        write_config("\n".join(["sso:", *lines, "  domains: [example.org]", ""]))
        assert client.get("/login/sso").status_code == 503

    def test_a_wrong_client_secret_is_told_to_the_log_and_not_to_the_person(
        self,
        configure: Configure,
        sign_on: SignOn,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        configure()
        monkeypatch.setenv("SSO_SECRET", "another-secret")
        with caplog.at_level(logging.WARNING):
            answer = sign_on(client)
        assert answer.status_code == 503
        assert any("invalid_client" in str(vars(record)) for record in caplog.records)
        assert not any("another-secret" in str(vars(record)) for record in caplog.records)
        assert "invalid_client" not in answer.content.decode()

    def test_a_deactivated_account_stays_out(self, configure: Configure, sign_on: SignOn, client: Client) -> None:
        configure()
        sign_on(Client())
        User.objects.update(is_active=False)
        answer = sign_on(client)
        assert answer.status_code == 403
        assert "deactivated" in answer.content.decode()
        assert not signed_in(client)

    def test_where_no_accounts_are_made_a_stranger_gets_none(
        self, configure: Configure, sign_on: SignOn, client: Client
    ) -> None:
        configure("new_accounts: false")
        answer = sign_on(client)
        assert answer.status_code == 403
        assert "no account here" in answer.content.decode()
        assert nothing_was_made()
