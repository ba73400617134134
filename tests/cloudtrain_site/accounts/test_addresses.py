"""Mail addresses: asked for, confirmed by who reads them, and one account's alone."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from allauth.account import app_settings
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from cloudtrain_site.accounts.addresses import confirm, mail_state
from cloudtrain_site.audit.models import AuditRecord
from tests.cloudtrain_site.accounts.inbox import Inbox
from tests.races import at_once

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_passwords"), pytest.mark.django_db]
PASSWORD = "unused-password"
NEW = "new@example.org"


@pytest.fixture
def sure(as_alice: Client) -> Client:
    """Alice's browser, in which she has just given her password once more."""
    answer = as_alice.post("/account/confirm?next=/account/email", {"password": PASSWORD})
    assert answer["Location"] == "/account/email"
    return as_alice


def ask(client: Client, worked: Any, **form: str) -> Any:
    with worked():
        return client.post("/account/email", form)


def test_the_password_is_asked_for_first(as_alice: Client) -> None:
    for answer in (as_alice.get("/account/email"), as_alice.post("/account/email", {"email": NEW})):
        assert answer["Location"] == "/account/confirm?next=%2Faccount%2Femail"
    assert not EmailAddress.objects.exists()
    refused = as_alice.post("/account/confirm", {"password": "wrong"})
    assert "Wrong password." in refused.content.decode()


def test_that_page_has_the_brakes_too(as_alice: Client) -> None:
    codes = [as_alice.post("/account/confirm", {"password": "wrong"}).status_code for _ in range(6)]
    assert codes == [200] * 5 + [429]


def test_nobody_is_sent_to_the_sign_in(client: Client) -> None:
    assert client.get("/account/email")["Location"] == "/login?next=%2Faccount%2Femail"
    assert client.get("/account/email/key")["Location"] == "/login?next=/account/email/key"


def test_a_new_address_takes_the_old_ones_place_when_it_is_confirmed(
    sure: Client, alice: User, inbox: Inbox, worked: Any
) -> None:
    assert ask(sure, worked, email="New@Example.org")["Location"] == "/account/email?sent"
    alice.refresh_from_db()
    assert (alice.email, mail_state(alice).pending) == ("alice@example.org", NEW)
    link = inbox.link_to(NEW)
    page = sure.get(link).content.decode()
    assert NEW in page
    assert mail_state(alice).pending == NEW  # a mail program that opens links confirms nothing
    with worked():
        assert sure.post(link)["Location"] == "/account?new-address"
    alice.refresh_from_db()
    assert (alice.email, mail_state(alice).is_confirmed, mail_state(alice).pending) == (NEW, True, "")
    assert "no longer uses this mail address, but new@example.org" in inbox.text_to("alice@example.org")
    line = AuditRecord.objects.get()
    assert (line.action, line.before, line.after) == (
        "email_changed",
        {"email": "alice@example.org"},
        {"email": NEW},
    )
    assert Client().post("/login", {"login": NEW, "password": PASSWORD}).status_code == 302
    again = sure.post(link)
    assert (again.status_code, "The link was already used" in again.content.decode()) == (404, True)


def test_an_entered_address_is_confirmed_and_stays(sure: Client, alice: User, inbox: Inbox, worked: Any) -> None:
    assert "not confirmed" in sure.get("/account/email").content.decode()
    ask(sure, worked, again="yes")
    sure.post(inbox.link_to("alice@example.org"))
    alice.refresh_from_db()
    assert mail_state(alice).is_confirmed
    assert len(inbox.mails) == 1


def test_a_link_is_only_its_own_accounts(sure: Client, bob: User, inbox: Inbox, worked: Any) -> None:
    ask(sure, worked, email=NEW)
    link = inbox.link_to(NEW)
    his = Client()
    his.force_login(bob)
    for answer in (his.get(link), his.post(link)):
        assert (answer.status_code, "for another account" in answer.content.decode()) == (404, True)
        assert NEW not in answer.content.decode()
        assert "alice" not in answer.content.decode()
    assert Client().post(link).status_code == 302
    assert not EmailAddress.objects.filter(verified=True).exists()


@pytest.mark.parametrize(("days", "code"), [(3.001, 404), (2.999, 302)])
def test_a_link_ends_after_three_days(
    sure: Client, inbox: Inbox, worked: Any, settings: Any, days: float, code: int
) -> None:
    ask(sure, worked, email=NEW)
    # What is left of its time: the session's own signature must not age with it.
    settings.ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = app_settings.EMAIL_CONFIRMATION_EXPIRE_DAYS - days
    assert sure.post(inbox.link_to(NEW)).status_code == code


def test_a_link_ends_when_another_address_is_asked_for(sure: Client, inbox: Inbox, worked: Any) -> None:
    ask(sure, worked, email=NEW)
    link = inbox.link_to(NEW)
    ask(sure, worked, email="newer@example.org")
    assert sure.post(link).status_code == 404
    assert sure.post(inbox.link_to("newer@example.org")).status_code == 302


def test_nobody_learns_that_another_account_has_an_address(
    sure: Client, alice: User, bob: User, inbox: Inbox, worked: Any
) -> None:
    EmailAddress.objects.create(user=bob, email="bob@example.org", verified=True, primary=True)
    assert ask(sure, worked, email="bob@example.org")["Location"] == "/account/email?sent"
    page = sure.get("/account/email").content.decode().replace("bob@example.org", "")
    assert not re.search(r"\bbob\b", page)
    answer = sure.post(inbox.link_to("bob@example.org"))
    assert (answer.status_code, "Another account has this address" in answer.content.decode()) == (404, True)
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"
    assert EmailAddress.objects.get(verified=True).user == bob


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_two_accounts_at_once_one_confirms_an_address(alice: User, bob: User, rf: RequestFactory) -> None:
    from allauth.core.context import request_context

    def confirm_for(user: User) -> bool:
        address = EmailAddress.objects.create(user=user, email=NEW)
        request = rf.post("/")
        request.user = user
        with request_context(request):
            return confirm(request, address)

    assert sorted(at_once(partial(confirm_for, alice), partial(confirm_for, bob))) == [False, True]
    assert EmailAddress.objects.filter(verified=True).count() == 1
    assert User.objects.filter(email=NEW).count() == 1


@pytest.mark.parametrize("email", ["", "nobody", "a@b", "x" * 255 + "@example.org", "a@example.org\nb@example.org"])
def test_what_is_no_address_changes_nothing(sure: Client, worked: Any, inbox: Inbox, email: str) -> None:
    assert ask(sure, worked, email=email).status_code == 200
    assert not EmailAddress.objects.exists()
    assert inbox.mails == []


def test_mails_to_one_address_are_braked(sure: Client, worked: Any, inbox: Inbox) -> None:
    codes = [ask(sure, worked, email=NEW).status_code for _ in range(4)]
    assert (codes, len(inbox.mails)) == ([302, 302, 302, 429], 3)


def test_an_address_that_an_admin_enters_is_not_confirmed(alice: User, root: User) -> None:
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    alice.save(update_fields=["last_login"])
    assert mail_state(alice).is_confirmed
    alice.email = "entered@example.org"
    alice.save()
    assert not mail_state(alice).is_confirmed
    assert Client().post("/login", {"login": "alice@example.org", "password": PASSWORD}).status_code == 200


def test_the_account_page_says_what_is_confirmed(as_alice: Client, alice: User) -> None:
    def shown() -> str:
        return " ".join(as_alice.get("/account").content.decode().split())

    assert "alice@example.org</bdi>, not confirmed" in shown()
    EmailAddress.objects.create(user=alice, email=NEW)
    assert f"{NEW}</bdi> is not confirmed yet" in shown()
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    assert "alice@example.org</bdi>, confirmed" in shown()


def test_who_has_none_can_set_one(sure: Client, alice: User, inbox: Inbox, worked: Any) -> None:
    User.objects.filter(pk=alice.pk).update(email="")
    assert "You have no mail address" in sure.get("/notices").content.decode()
    ask(sure, worked, email=NEW)
    sure.post(inbox.link_to(NEW))
    alice.refresh_from_db()
    assert alice.email == NEW
