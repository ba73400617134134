"""New passwords: with the old one, and by the link of a mail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django_q.models import OrmQ, Task

from cloudtrain_site.accounts import tasks
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.models import ApiKey
from tests.cloudtrain_site.accounts.inbox import Inbox
from tests.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_passwords"), pytest.mark.django_db]
OLD, NEW = "unused-password", "a-much-better-one"
NEW_FORM = {"password1": NEW, "password2": NEW}


def ask(client: Client, email: str, worked: Any, address: str = "192.0.2.1") -> Any:
    with worked():
        return client.post("/password", {"email": email}, REMOTE_ADDR=address)


def follow(client: Client, link: str) -> str:
    """The address of the form that the link leads to."""
    return str(client.get(link)["Location"])


class TestByMail:
    def test_a_link_arrives_and_sets_a_password_once(self, alice: User, inbox: Inbox, worked: Any) -> None:
        client = Client()
        answer = ask(client, "Alice@example.org", worked)
        assert answer["Location"] == "/password/sent"
        text = inbox.text_to("alice@example.org")
        assert "set a new password for the account alice" in text
        assert "works once, within 60 minutes" in text
        link = inbox.link_to("alice@example.org")
        form = follow(client, link)
        assert link.split("/")[-1] not in form
        assert "Set a new password" in client.get(form).content.decode()
        with worked():
            assert client.post(form, NEW_FORM)["Location"] == "/password/set"
        assert client.get("/password/set").status_code == 200
        alice.refresh_from_db()
        assert alice.check_password(NEW)
        assert "was changed from the address" in inbox.text_to("alice@example.org")
        again = Client().get(link)
        assert (again.status_code, "This link can’t be used" in again.content.decode()) == (404, True)
        assert client.post(form, NEW_FORM).status_code == 404

    def test_the_browser_that_set_it_is_known(self, alice: User, inbox: Inbox, worked: Any) -> None:
        client = Client()
        ask(client, alice.email, worked)
        client.post(follow(client, inbox.link_to(alice.email)), NEW_FORM)
        for _ in range(8):
            Client().post("/login", {"login": "alice", "password": "wrong"})
        assert client.post("/login", {"login": "alice", "password": NEW}).status_code == 302

    def test_it_ends_after_an_hour(
        self, alice: User, inbox: Inbox, worked: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from allauth.account.forms import default_token_generator

        ask(Client(), alice.email, worked)
        link, now = inbox.link_to(alice.email), default_token_generator._now()
        monkeypatch.setattr(default_token_generator.__class__, "_now", lambda self: now + timedelta(minutes=61))
        assert Client().get(link).status_code == 404
        monkeypatch.setattr(default_token_generator.__class__, "_now", lambda self: now + timedelta(minutes=59))
        assert Client().get(link).status_code == 302

    @pytest.mark.parametrize("change", ["password", "sign-in", "mail", "deactivation"])
    def test_it_ends_with_what_changes_meanwhile(self, alice: User, inbox: Inbox, worked: Any, change: str) -> None:
        ask(Client(), alice.email, worked)
        link = inbox.link_to(alice.email)
        if change == "password":
            alice.set_password("another-password")
            alice.save()
        elif change == "sign-in":
            Client().post("/login", {"login": "alice", "password": OLD})
        elif change == "mail":
            alice.email = "other@example.org"
            alice.save()
        else:
            User.objects.filter(pk=alice.pk).update(is_active=False)
        assert Client().get(link).status_code == 404

    def test_ones_own_link_sets_nobody_elses(self, alice: User, bob: User, inbox: Inbox, worked: Any) -> None:
        from allauth.account.utils import user_pk_to_url_str

        ask(Client(), alice.email, worked)
        link = inbox.link_to(alice.email)
        forged = link.replace(f"/{user_pk_to_url_str(alice)}/", f"/{user_pk_to_url_str(bob)}/")
        assert Client().get(forged).status_code == 404
        assert Client().post(forged, NEW_FORM).status_code == 404

    @pytest.mark.parametrize("email", ["nobody@example.org", "dora@example.org", "eve@example.org"])
    def test_nobody_learns_whether_there_is_an_account(
        self, alice: User, inbox: Inbox, worked: Any, email: str, django_assert_num_queries: Any
    ) -> None:
        User.objects.create_user("dora", "dora@example.org", OLD, is_active=False)
        User.objects.create_user("eve", "eve@example.org")  # signs in elsewhere: a link would be a way around that
        reference, answer = ask(Client(), alice.email, worked), ask(Client(), email, worked)
        assert [message["To"] for message in inbox.mails] == [alice.email]
        assert (answer.status_code, answer["Location"]) == (reference.status_code, reference["Location"])

    def test_the_request_does_the_same_for_everybody(
        self, alice: User, django_capture_on_commit_callbacks: Any
    ) -> None:
        """It looks for no account and sends nothing: a task does, and holds no link."""
        for email in ("nobody@example.org", alice.email):
            with django_capture_on_commit_callbacks(execute=True):
                Client().post("/password", {"email": email})
        tasks = [task.task for task in OrmQ.objects.order_by("pk")]
        assert [task["args"] for task in tasks] == [("nobody@example.org",), (alice.email,)]

    def test_a_confirmed_address_comes_before_an_entered_one(
        self, alice: User, bob: User, inbox: Inbox, worked: Any
    ) -> None:
        User.objects.filter(pk=bob.pk).update(email=alice.email)
        ask(Client(), alice.email, worked)
        assert len(inbox.mails) == 2
        EmailAddress.objects.filter(user=alice).update(verified=True, primary=True)
        ask(Client(), alice.email, worked, "192.0.2.2")
        assert len(inbox.mails) == 3
        assert "the account alice" in inbox.text_to(alice.email)

    def test_an_address_that_somebody_only_asked_for_is_mailed_nothing(
        self, alice: User, inbox: Inbox, worked: Any
    ) -> None:
        EmailAddress.objects.create(user=alice, email="victim@example.org")
        ask(Client(), "victim@example.org", worked)
        assert inbox.mails == []

    def test_too_many_requests_wait(self, alice: User, inbox: Inbox, worked: Any) -> None:
        codes = [ask(Client(), alice.email, worked, f"192.0.2.{number}").status_code for number in range(4)]
        assert (codes, len(inbox.mails)) == ([302, 302, 302, 429], 3)
        codes = [ask(Client(), f"{number}@example.org", worked, "192.0.2.99").status_code for number in range(11)]
        assert codes == [302] * 10 + [429]

    def test_a_bad_new_password_changes_nothing(self, alice: User, inbox: Inbox, worked: Any) -> None:
        client = Client()
        ask(client, alice.email, worked)
        form = follow(client, inbox.link_to(alice.email))
        page = client.post(form, {"password1": "alice@example", "password2": "alice@example"}).content.decode()
        assert "too similar" in page
        assert client.post(form, {"password1": NEW, "password2": "another"}).status_code == 200
        alice.refresh_from_db()
        assert alice.check_password(OLD)

    def test_a_link_is_in_no_line_of_the_log_and_no_row(
        self, alice: User, inbox: Inbox, worked: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        client = Client()
        ask(client, alice.email, worked)
        link = inbox.link_to(alice.email)
        client.get(link)
        own = [line for line in caplog.records if line.name != "mail.log"]  # the receiver's
        lines = "".join(str(line.__dict__) for line in own)
        assert "GET /password/" in lines
        assert link.split("/")[-1] not in lines
        rows = [*Task.objects.values(), *OrmQ.objects.values(), *AuditRecord.objects.values()]
        assert link.split("/")[-1] not in str(rows)

    def test_a_failing_server_is_a_warning_without_the_link(
        self, alice: User, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
        with pytest.raises(OSError):
            tasks.send_reset_links(alice.email)
        assert "A mail about an account could not be sent" in caplog.messages
        assert "/password/" not in "".join(str(line.__dict__) for line in caplog.records)


class TestWithTheOldOne:
    def change(self, client: Client, old: str = OLD, new: str = NEW, **fields: str) -> Any:
        form = {"oldpassword": old, "password1": new, "password2": new, **fields}
        return client.post("/account/password", form)

    def test_it_is_changed_and_other_browsers_are_signed_out(
        self, as_alice: Client, alice: User, inbox: Inbox, worked: Any
    ) -> None:
        elsewhere = Client()
        elsewhere.force_login(alice)
        ApiKey.objects.create(user=alice)
        with worked():
            answer = self.change(as_alice)
        assert answer["Location"] == "/account?new-password"
        assert "Password changed." in as_alice.get(answer["Location"]).content.decode()
        assert elsewhere.get("/account").status_code == 302
        alice.refresh_from_db()
        assert alice.check_password(NEW)
        assert ApiKey.objects.count() == 1
        assert "All other browsers were signed out" in inbox.text_to(alice.email)
        line = AuditRecord.objects.get()
        assert (line.action, line.actor, line.after) == ("password_changed", "alice", {"revoked_keys": 0})

    def test_the_keys_end_too_when_wanted(self, as_alice: Client, alice: User, bob: User) -> None:
        ApiKey.objects.create(user=alice)
        ApiKey.objects.create(user=bob)
        self.change(as_alice, revoke_keys="on")
        assert [key.user for key in ApiKey.objects.all()] == [bob]

    @pytest.mark.parametrize(
        ("old", "new", "text"),
        [
            ("a guess", NEW, "Wrong password."),
            (OLD, "short", "too short"),
            (OLD, "11-letters-", "too short"),
            (OLD, "alice-example", "too similar"),
            (OLD, "alice@example.org", "too similar"),
            (OLD, "Alice-and-ALICE", "fewer than 12 characters"),
            (OLD, "alice@example.org-too", "fewer than 12 characters"),
            (OLD, "271828182845", "entirely numeric"),
            (OLD, "password1234", "too common"),
        ],
    )
    def test_a_bad_one_changes_nothing(self, as_alice: Client, alice: User, old: str, new: str, text: str) -> None:
        before = Session.objects.count()
        answer = self.change(as_alice, old, new)
        assert (answer.status_code, text in answer.content.decode()) == (200, True)
        alice.refresh_from_db()
        assert alice.check_password(OLD)
        assert Session.objects.count() == before

    def test_one_with_the_name_in_it_is_taken_when_it_is_long_enough_beside_it(
        self, as_alice: Client, alice: User
    ) -> None:
        assert self.change(as_alice, OLD, "alice-is-13-longer").status_code == 302
        alice.refresh_from_db()
        assert alice.check_password("alice-is-13-longer")

    def test_a_stolen_session_guesses_the_old_one_five_times(self, as_alice: Client, alice: User) -> None:
        codes = [self.change(as_alice, f"guess-{number}").status_code for number in range(6)]
        assert codes == [200] * 5 + [429]
        assert self.change(as_alice).status_code == 429
        alice.refresh_from_db()
        assert alice.check_password(OLD)

    def test_who_has_none_here_is_led_back(self, as_alice: Client, alice: User) -> None:
        alice.set_unusable_password()
        alice.save()
        as_alice.force_login(alice)
        assert as_alice.get("/account/password")["Location"] == "/account"
        assert "/account/password" not in as_alice.get("/account").content.decode()
