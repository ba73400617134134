"""Which account a sign-in at an identity provider leads to, and what it may do there."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Membership, Organization
from tests.cloudtrain_site.accounts.sso.conftest import Configure, SignOn
from tests.cloudtrain_site.accounts.sso.people import existing, signed_in
from tests.one_time_codes import app_of
from tests.openid_provider import Provider, callback_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


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
