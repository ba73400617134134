"""The one door: by name or confirmed mail, and no difference between those who are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.test import Client

from cloudtrain_site.accounts.adapter import REFUSAL
from tests.web import with_single_blanks

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
PASSWORD = "unused-password"


def sign_in(client: Client, login: str, password: str = PASSWORD, **fields: str) -> Any:
    return client.post("/login", {"login": login, "password": password, **fields})


@pytest.fixture
def confirmed(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email="alice@example.org", verified=True, primary=True)


@pytest.mark.parametrize("login", ["alice", " alice ", "alice@example.org", "Alice@Example.ORG"])
def test_a_name_or_a_confirmed_address_opens(client: Client, confirmed: EmailAddress, login: str) -> None:
    assert sign_in(client, login)["Location"] == "/"
    assert client.get("/account").status_code == 200


def test_an_address_that_nobody_confirmed_does_not(client: Client, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email=alice.email)
    assert REFUSAL in sign_in(client, alice.email).content.decode()


def test_who_confirmed_an_address_comes_before_who_is_called_like_it(
    client: Client, confirmed: EmailAddress, bob: User
) -> None:
    User.objects.filter(pk=bob.pk).update(username=confirmed.email)
    sign_in(client, confirmed.email)
    assert client.get("/account").context["user"] == confirmed.user


def test_an_old_short_password_still_opens(client: Client, alice: User) -> None:
    alice.set_password("short")
    alice.save()
    assert sign_in(client, "alice", "short").status_code == 302


def test_a_session_of_before_stays(client: Client, alice: User) -> None:
    client.force_login(alice, "django.contrib.auth.backends.ModelBackend")
    assert client.get("/account").status_code == 200


@pytest.mark.parametrize(
    ("login", "password"),
    [("alice", "wrong"), ("nobody", "wrong"), ("dora", "wrong"), ("dora", PASSWORD), ("nobody@example.org", "x")],
)
def test_everybody_who_is_refused_reads_the_same(client: Client, alice: User, login: str, password: str) -> None:
    User.objects.create_user("dora", password=PASSWORD, is_active=False)

    def text(of: Any) -> str:
        page = re.sub(r'value="[^"]{64}"', "", with_single_blanks(of.content.decode()))
        return page.replace(f'value="{login}"', "").replace('value="nobody"', "")

    answer, reference = sign_in(client, login, password), sign_in(Client(), "nobody", "wrong")
    assert (answer.status_code, text(answer)) == (reference.status_code, text(reference))
    assert REFUSAL in answer.content.decode()
    assert client.get("/account").status_code == 302


@pytest.mark.parametrize("login", ["alice", "alice@example.org", "nobody", "nobody@example.org", "dora"])
def test_one_password_is_hashed_whoever_it_is(
    client: Client, confirmed: EmailAddress, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.hashers import get_hasher

    User.objects.create_user("dora", password=PASSWORD, is_active=False)
    hasher, hashed = get_hasher(), []
    encode = type(hasher).encode

    def counted(self: Any, *args: Any, **kwargs: Any) -> str:
        hashed.append(1)
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(type(hasher), "encode", counted)
    sign_in(client, login, "wrong")
    assert len(hashed) == 1


@pytest.mark.parametrize(
    "address",
    ["https://example.org/", "//example.org/", "/\\example.org", "http:example.org", "javascript:alert(1)", "\x00/"],
)
def test_a_sign_in_leads_nowhere_else(client: Client, alice: User, settings: Any, address: str) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "example.org", "*"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://example.org"]
    assert sign_in(client, "alice", next=address)["Location"] == "/"
    assert client.get("/login", {"next": address})["Location"] == "/"


def test_it_leads_to_where_one_was_going(client: Client, alice: User) -> None:
    page = client.get("/login?next=/queue%3Fa=b").content.decode()
    assert 'name="next" value="/queue?a=b"' in page
    assert sign_in(client, "alice", next="/queue?a=b")["Location"] == "/queue?a=b"


@pytest.mark.parametrize("method", ["get", "post", "head", "options", "put", "delete"])
@pytest.mark.parametrize(
    "path", ["signup", "signup/", "login/", "inactive/", "login/code/", "email/", "password/set/", "phone/verify/"]
)
def test_nothing_of_the_library_is_there_that_is_not_used(alice: User, path: str, method: str) -> None:
    client = Client()
    client.force_login(alice)
    for prefix in ("/", "/accounts/", "/account/"):
        assert getattr(client, method)(f"{prefix}{path}").status_code == 404


@pytest.mark.parametrize("model", ["account/emailaddress", "account/emailconfirmation", "usersessions/usersession"])
def test_nor_in_the_admin(root: User, model: str) -> None:
    client = Client()
    client.force_login(root)
    assert client.get(f"/admin/{model}/").status_code == 404


def test_no_password_is_in_the_signal_of_a_failure(client: Client, alice: User) -> None:
    seen: list[Any] = []

    def receiver(credentials: Any, **kwargs: Any) -> None:
        seen.append(credentials)

    user_login_failed.connect(receiver)
    try:
        sign_in(client, "alice", "planted-password")
    finally:
        user_login_failed.disconnect(receiver)
    assert seen
    assert "planted" not in str(seen)
