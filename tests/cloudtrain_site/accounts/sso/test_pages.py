"""Signing in at an identity provider over HTTP: who gets in, and that a refusal makes nothing."""

from __future__ import annotations

import logging
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord, AuditSource
from jobs.models import Membership, Organization
from tests.cloudtrain_site.accounts.sso.conftest import Configure, SignOn
from tests.configuration import WriteConfig
from tests.one_time_codes import app_of
from tests.openid_provider import Provider, callback_of

pytestmark = pytest.mark.django_db


def signed_in(client: Client) -> str:
    """The name of who is signed in; empty: nobody."""
    user_id = client.session.get("_auth_user_id")
    return User.objects.get(pk=user_id).username if user_id else ""


def nothing_was_made() -> bool:
    return not User.objects.exists() and not SocialAccount.objects.exists() and not AuditRecord.objects.exists()


def existing(name: str = "old-vera", *, confirmed: bool = True, **columns: Any) -> User:
    user = User.objects.create_user(name, "vera@example.org", "a long pass phrase", **columns)
    EmailAddress.objects.create(user=user, email="vera@example.org", verified=confirmed, primary=True)
    return user


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
        assert "not begun in this browser" in answer.content.decode()
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
        assert "does not answer as it should" in answer.content.decode()
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


class TestLinking:
    def test_an_address_that_both_have_confirmed_links_once(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        user = existing()
        sign_on(client)
        assert signed_in(client) == user.username
        assert SocialAccount.objects.get().user == user
        # The address was handed on at the provider: its next owner is somebody else.
        provider.person["sub"] = "18"
        successor = Client()
        answer = sign_on(successor)
        assert answer.status_code == 403
        assert not signed_in(successor)

    @pytest.mark.parametrize(
        "columns", [{"confirmed": False}, {"is_staff": True}, {"is_superuser": True}, {"is_active": False}]
    )
    def test_an_account_is_not_taken_over_by_an_address(
        self, configure: Configure, sign_on: SignOn, client: Client, columns: dict[str, Any]
    ) -> None:
        configure()
        existing(**columns)
        answer = sign_on(client)
        assert answer.status_code == 403
        assert not signed_in(client)
        assert not SocialAccount.objects.exists()
        assert User.objects.count() == 1

    def test_an_address_that_two_accounts_have_links_neither(
        self, configure: Configure, sign_on: SignOn, client: Client
    ) -> None:
        configure()
        existing()
        User.objects.create_user("second", "VERA@example.org")
        assert sign_on(client).status_code == 403
        assert not SocialAccount.objects.exists()


class TestRoles:
    GROUPS = "groups:\n  leads: {organization: acme, role: lead}\n  all: {organization: acme, role: viewer}"

    def roles(self) -> list[tuple[str, str]]:
        return list(Membership.objects.values_list("user__username", "role"))

    def test_they_follow_the_groups_at_each_sign_in(
        self, configure: Configure, sign_on: SignOn, provider: Provider, acme: Organization
    ) -> None:
        configure(self.GROUPS)
        provider.person["groups"] = ["all", "leads"]
        sign_on(Client())
        assert self.roles() == [("vera", "lead")]
        provider.person["groups"] = ["all"]
        sign_on(Client())
        assert self.roles() == [("vera", "viewer")]
        provider.person["groups"] = []
        client = Client()
        sign_on(client)
        assert self.roles() == []
        assert signed_in(client) == "vera"

    def test_a_refused_sign_in_changes_none(
        self, configure: Configure, sign_on: SignOn, provider: Provider, acme: Organization
    ) -> None:
        configure(self.GROUPS)
        provider.person["groups"] = ["leads"]
        sign_on(Client())
        provider.person |= {"groups": [], "email_verified": False}
        assert sign_on(Client()).status_code == 403
        assert self.roles() == [("vera", "lead")]

    def test_groups_may_be_told_by_userinfo_alone(
        self, configure: Configure, sign_on: SignOn, provider: Provider, acme: Organization
    ) -> None:
        configure(self.GROUPS)
        provider.person["groups"] = ["leads"]
        provider.only_in_userinfo = ("groups",)
        sign_on(Client())
        assert self.roles() == [("vera", "lead")]


class TestSecondFactor:
    def test_one_that_is_set_up_here_is_asked_for(self, configure: Configure, sign_on: SignOn, client: Client) -> None:
        configure()
        sign_on(Client())
        app_of(User.objects.get())
        assert sign_on(client)["Location"] == "/login/second-step"
        assert not signed_in(client)

    def test_the_providers_own_counts_where_it_is_trusted_with_it(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure("second_factor_amr: [mfa]", "second_factor:\n  required_of: everybody")
        provider.person["amr"] = ["pwd", "mfa"]
        sign_on(client)
        assert client.get("/account").status_code == 200
        # By a password of the provider alone it doesn't.
        provider.person["amr"] = ["pwd"]
        other = Client()
        sign_on(other)
        assert other.get("/account")["Location"].startswith("/account/second-factor")

    def test_without_trust_it_counts_for_nothing(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure("", "second_factor:\n  required_of: everybody")
        provider.person["amr"] = ["mfa"]
        sign_on(client)
        assert client.get("/account")["Location"].startswith("/account/second-factor")

    def test_who_has_no_password_here_confirms_at_the_provider(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        sign_on(client)
        answer = client.get("/account/second-factor/app")
        assert answer["Location"] == "/login/sso?fresh=&next=%2Faccount%2Fsecond-factor%2Fapp"
        away = client.get(answer["Location"])["Location"]
        assert parse_qs(urlsplit(away).query)["prompt"] == ["login"]
        back = client.get(f"/login/sso/callback?{callback_of(provider, away)}")
        assert back["Location"] == "/account/second-factor/app"
        assert client.get("/account/second-factor/app").status_code == 200

    def test_a_provider_that_did_not_look_again_confirms_nothing(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        sign_on(client)
        provider.person["auth_time"] = 1_000_000_000
        away = client.get("/login/sso?fresh=&next=/account/second-factor/app")["Location"]
        client.get(f"/login/sso/callback?{callback_of(provider, away)}")
        assert client.get("/account/second-factor/app").status_code == 302


class TestConnecting:
    def away(self, client: Client) -> str:
        """Confirm with the password and go to the provider. Returns the address there."""
        client.post("/account/sso/connect")
        page = client.post("/account/confirm?next=/account/sso/connect", {"password": "a long pass phrase"})
        found = re.search(r'href="(http://127[^"]+)"', page.content.decode())
        assert found, page.content.decode()
        return unescape(found[1])

    def test_who_confirms_the_account_connects_it(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        user = existing(is_superuser=True)
        client.force_login(user)
        back = client.get(f"/login/sso/callback?{callback_of(provider, self.away(client))}")
        assert back["Location"] == "/account"
        assert SocialAccount.objects.get().user == user
        other = Client()
        sign_on(other)
        assert signed_in(other) == user.username

    def test_without_the_password_nothing_is_connected(self, configure: Configure, client: Client) -> None:
        configure()
        client.force_login(existing())
        answer = client.post("/account/sso/connect")
        assert answer["Location"].startswith("/account/confirm")

    def test_somebody_elses_answer_connects_nothing(
        self, configure: Configure, provider: Provider, client: Client
    ) -> None:
        configure()
        client.force_login(existing())
        answer = callback_of(provider, self.away(client))
        client.post("/logout")
        assert client.get(f"/login/sso/callback?{answer}").status_code in (400, 403)
        assert not SocialAccount.objects.exists()

    def test_an_account_of_another_person_is_not_connected(
        self, configure: Configure, sign_on: SignOn, provider: Provider, client: Client
    ) -> None:
        configure()
        sign_on(Client())
        user = User.objects.create_user("otto", password="a long pass phrase")
        client.force_login(user)
        assert client.get(f"/login/sso/callback?{callback_of(provider, self.away(client))}").status_code == 403
        assert SocialAccount.objects.get().user.username == "vera"

    def test_the_link_ends_where_there_is_a_password(
        self, configure: Configure, sign_on: SignOn, client: Client
    ) -> None:
        configure()
        user = existing()
        sign_on(Client())
        client.force_login(user)
        client.post("/account/sso/disconnect")
        client.post("/account/confirm?next=/account/sso/disconnect", {"password": "a long pass phrase"})
        assert not SocialAccount.objects.exists()
        assert AuditRecord.objects.filter(action="sso_disconnected", actor=user.username).exists()


class TestWithoutLocalPasswords:
    def test_no_password_lets_anybody_in(self, configure: Configure, client: Client) -> None:
        configure("local_passwords: off")
        User.objects.create_superuser("root", password="a long pass phrase")
        for address in ("/login", "/admin/login/"):
            client.post(address, {"login": "root", "username": "root", "password": "a long pass phrase"})
            assert not signed_in(client)

    @pytest.mark.parametrize(
        "address", ["/password", "/password/sent", "/password/set", "/password/1/x", "/account/password"]
    )
    def test_no_page_about_passwords_is_there(self, configure: Configure, client: Client, address: str) -> None:
        configure("local_passwords: off")
        client.force_login(existing())
        assert client.get(address).status_code == 404
        assert client.post(address).status_code == 404
        assert "password" not in client.get("/account").content.decode().lower()

    def test_the_provider_does(self, configure: Configure, sign_on: SignOn, client: Client) -> None:
        configure("local_passwords: off")
        sign_on(client)
        assert signed_in(client) == "vera"
