"""The page to which an invitation's link leads."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from jobs.models import Invitation, Membership, Organization
from jobs.organizations.invitations import invite, withdraw
from jobs.roles import Role
from tests.configuration import WriteConfig
from tests.factories import make_user
from tests.settings_pages import browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
PASSWORD = "a-long-enough-one"
ACCOUNT = {"username": "newcomer", "password": PASSWORD}


@pytest.fixture
def maria(acme: Organization) -> User:
    return make_user("maria", acme, Role.ADMIN)


@pytest.fixture
def dave(db: None) -> User:
    """Somebody of no organization."""
    return make_user("dave")


def link_to(acme: Organization, maria: User, role: Role = Role.RESEARCHER, email: str = "") -> str:
    return f"/invitations/{invite(acme, role, by=maria, email=email)[1]}"


def is_member(user: User) -> bool:
    return Membership.objects.filter(user=user, organization__name="acme").exists()


class TestNewcomer:
    def test_an_account_is_made_and_signed_in(self, acme: Organization, maria: User) -> None:
        link, browser = link_to(acme, maria), browser_of(None)
        page = text_of(browser.get(link))
        assert "maria invites you to acme as researcher." in page
        page = text_of(browser.post(link, {**ACCOUNT, "email": "new@example.org"}, follow=True))
        assert "Welcome to acme. You are researcher here." in page
        assert "newcomer" in page
        user = User.objects.get(username="newcomer")
        assert user.check_password(PASSWORD) and user.email == "new@example.org"
        assert Membership.objects.get(user=user).role == "researcher"

    def test_the_address_of_the_invitation_is_the_accounts(self, acme: Organization, maria: User) -> None:
        link, browser = link_to(acme, maria, email="new@example.org"), browser_of(None)
        assert 'name="email"' not in browser.get(link).content.decode()
        browser.post(link, {**ACCOUNT, "email": "another@example.org"})
        assert User.objects.get(username="newcomer").email == "new@example.org"

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"username": "maria"}, "A user with that username already exists."),
            ({"username": "MARIA"}, "A user with that username already exists."),
            ({"username": ""}, "This field is required."),
            ({"username": "a b"}, "Enter a valid username."),
            ({"password": "short"}, "This password is too short."),
            ({"password": ""}, "This field is required."),
            ({"password": "newcomer1234"}, "too similar"),
            ({"email": "no address"}, "Enter a valid email address."),
            ({"email": "maria@example.org"}, "This address can't be used for another account."),
        ],
    )
    def test_what_the_account_can_not_have_is_said_at_its_field(
        self, acme: Organization, maria: User, fields: dict[str, str], sentence: str
    ) -> None:
        link, browser = link_to(acme, maria), browser_of(None)
        page = browser.post(link, {**ACCOUNT, **fields})
        assert page.status_code == 400
        assert sentence in text_of(page)
        assert f"id_{next(iter(fields))}_error" in page.content.decode()
        assert PASSWORD not in page.content.decode()
        assert User.objects.count() == 1
        assert Invitation.objects.get().accepted_at is None

    def test_who_has_an_account_signs_in_and_comes_back(self, acme: Organization, maria: User, dave: User) -> None:
        link, browser = link_to(acme, maria), browser_of(None)
        assert f'href="/login?next={link.replace("/", "%2F")}"' in browser.get(link).content.decode()
        login = {"login": "dave", "password": "unused-password"}
        page = browser.post(f"/login?next={link}", login, follow=True)
        assert "Join as dave" in text_of(page)

    def test_where_passwords_are_off_one_signs_in_and_makes_no_account(
        self, acme: Organization, maria: User, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSO_SECRET", "of-nobody")
        lines = ("issuer: https://id.example.org", "client_id: cloudtrain", "client_secret: ${SSO_SECRET}")
        write_config("sso:\n  " + "\n  ".join((*lines, "domains: [example.org]", "local_passwords: off")) + "\n")
        link, browser = link_to(acme, maria), browser_of(None)
        page = browser.get(link).content.decode()
        assert "Sign in" in page and 'name="password"' not in page
        assert browser.post(link, ACCOUNT).status_code == 403
        assert not User.objects.filter(username="newcomer").exists()


class TestUser:
    def test_one_accepts(self, acme: Organization, maria: User, dave: User) -> None:
        link, browser = link_to(acme, maria, Role.LEAD), browser_of(dave)
        assert not is_member(dave)
        page = text_of(browser.post(link, follow=True))
        assert "Welcome to acme. You are lead here." in page
        assert is_member(dave)

    def test_a_look_accepts_nothing(self, acme: Organization, maria: User, dave: User) -> None:
        link = link_to(acme, maria)
        for _ in range(2):
            assert browser_of(dave).get(link).status_code == 200
        assert not is_member(dave)

    def test_a_member_keeps_it_open_for_somebody_else(self, acme: Organization, maria: User, alice: User) -> None:
        link, browser = link_to(acme, maria), browser_of(alice)
        for page in (browser.get(link), browser.post(link)):
            assert "are a member of acme already." in text_of(page)
        assert Invitation.objects.get().accepted_at is None

    def test_one_for_another_address_is_refused(self, acme: Organization, maria: User, dave: User) -> None:
        link, browser = link_to(acme, maria, email="somebody@example.org"), browser_of(dave)
        page = browser.get(link)
        assert "for another mail address than that of your account, dave." in text_of(page)
        assert "somebody@example.org" not in text_of(page)
        assert browser.post(link).status_code == 403
        assert not is_member(dave)


class TestEnded:
    def test_used(self, acme: Organization, maria: User, dave: User) -> None:
        link = link_to(acme, maria)
        browser_of(dave).post(link)
        for user in (None, dave, make_user("erin")):
            page = browser_of(user).get(link)
            assert page.status_code == 410
            assert "This invitation was already used." in text_of(page)
        page = browser_of(None).post(link, ACCOUNT)
        assert page.status_code == 410
        assert not User.objects.filter(username="newcomer").exists()

    def test_withdrawn(self, acme: Organization, maria: User) -> None:
        link = link_to(acme, maria)
        withdraw(acme, Invitation.objects.get().pk, by=maria)
        page = browser_of(None).post(link, ACCOUNT)
        assert page.status_code == 410
        assert "This invitation was withdrawn." in text_of(page)

    def test_late(self, acme: Organization, maria: User, dave: User) -> None:
        link = link_to(acme, maria)
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        page = browser_of(dave).post(link)
        assert page.status_code == 410
        assert "This invitation has expired." in text_of(page)
        assert not is_member(dave)

    @pytest.mark.parametrize("token", ["ct_0", "x", "ct_" + "0" * 64, "%00", "ct_%F0%9F%9A%82"])
    def test_never_there(self, db: None, token: str) -> None:
        page = browser_of(None).get(f"/invitations/{token}")
        assert page.status_code == 404
        assert "This invitation does not exist. Check that the link is complete." in text_of(page)

    def test_guessing_is_slowed_down(self, acme: Organization, maria: User) -> None:
        browser = browser_of(None)
        statuses = [browser.get(f"/invitations/ct_{number}").status_code for number in range(25)]
        assert statuses[0] == 404 and statuses[-1] == 429
