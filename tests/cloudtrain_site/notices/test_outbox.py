"""Notices are stored with their change, and sent by mail once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ

from cloudtrain_site.accounts.preferences import change_preferences
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.models import Loop
from cloudtrain_site.notices import outbox, tasks
from cloudtrain_site.notices.models import Delivery, Notice
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.notices.sending import send_due
from tests.cloudtrain_site.notices.receivers import MailReceiver

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def tell(*users: User, key: str = "job-1 ended", kind: str = "tide", **fields: Any) -> None:
    audience = fields.pop("audience", None) or Audience(users=[user.pk for user in users])
    store(kind, key=key, subject=fields.pop("subject", "flux completed"), audience=audience, **fields)


def test_a_notice_is_mailed_with_a_link_and_a_way_to_choose(alice: User, mail_server: MailReceiver) -> None:
    tell(alice, text="It ran for 2 h.", link="/jobs/job-1")
    assert send_due() == 1
    (mail,) = mail_server.mails
    assert (mail["to"], mail["subject"]) == ("alice@example.org", "flux completed")
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None and html is not None
    assert "It ran for 2 h." in plain.get_content()
    assert "Open it: http://localhost:8001/jobs/job-1" in plain.get_content().splitlines()
    assert 'href="http://localhost:8001/jobs/job-1"' in html.get_content()
    assert mail["list-unsubscribe"].startswith("<http://localhost:8001/")
    assert send_due() == 0
    assert len(mail_server.mails) == 1


def test_a_key_is_stored_once(alice: User) -> None:
    tell(alice)
    tell(alice, subject="flux completed again")
    assert [notice.subject for notice in Notice.objects.all()] == ["flux completed"]


def test_a_change_that_is_rolled_back_tells_nobody(alice: User) -> None:
    with pytest.raises(RuntimeError), unit_of_work():
        tell(alice)
        raise RuntimeError
    assert not Notice.objects.exists()


def test_the_sending_is_enqueued_after_the_commit(alice: User, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        tell(alice)
        assert not OrmQ.objects.exists()
    assert [task.func() for task in OrmQ.objects.all()] == [outbox.TASK]


def test_a_sender_at_work_is_not_sent_for(alice: User, django_capture_on_commit_callbacks: Any) -> None:
    Loop.objects.create(name=outbox.LOOP, interval_seconds=10, lease_until=timezone.now() + timedelta(seconds=20))
    with django_capture_on_commit_callbacks(execute=True):
        tell(alice)
    assert not OrmQ.objects.exists()


def test_what_came_while_a_sender_ended_is_sent_for(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "send_due", lambda: tell(alice))
    tasks.send_now()
    assert [task.func() for task in OrmQ.objects.all()] == [outbox.TASK]


def test_the_tick_finds_what_a_lost_task_would_have_sent(alice: User, mailoutbox: list[Any]) -> None:
    with transaction.atomic():
        tell(alice)
    assert tasks.deliver() == {"sent": 1}
    assert len(mailoutbox) == 1


def test_a_notice_waits_until_it_is_due(alice: User, mailoutbox: list[Any]) -> None:
    tell(alice, due_at=timezone.now() + timedelta(hours=1))
    assert send_due() == 0
    Notice.objects.update(due_at=timezone.now())
    assert send_due() == 1


def test_whoever_made_the_change_hears_nothing_of_it(alice: User, bob: User, mailoutbox: list[Any]) -> None:
    tell(audience=Audience(users=[alice.pk, bob.pk], actor_id=alice.pk))
    send_due()
    assert [mail.to for mail in mailoutbox] == [["bob@example.org"]]


def test_muted_kinds_and_inactive_users_get_nothing(alice: User, bob: User, mailoutbox: list[Any]) -> None:
    change_preferences(alice, mail={"sea": False})
    User.objects.filter(pk=bob.pk).update(is_active=False)
    tell(alice, bob)
    assert send_due() == 0
    assert Notice.objects.get().addressed_at is not None


def test_an_invitation_goes_to_an_address_of_no_user(mailoutbox: list[Any]) -> None:
    tell(kind="invitation", audience=Audience(emails=["dana@example.org"]))
    send_due()
    (mail,) = mailoutbox
    assert (mail.to, "List-Unsubscribe" in mail.extra_headers) == (["dana@example.org"], False)


def test_a_burst_is_one_mail_and_then_a_digest(alice: User, mail_server: MailReceiver) -> None:
    tell(alice, key="first")
    assert send_due() == 1
    for number in range(30):
        tell(alice, key=f"job-{number}", subject=f"run {number} completed")
    assert send_due() == 0
    Delivery.objects.filter(is_sent=True).update(done_at=timezone.now() - timedelta(minutes=1))
    Delivery.objects.filter(done_at=None).update(next_attempt_at=timezone.now())
    assert send_due() == 30
    _, digest = mail_server.mails
    assert digest["subject"] == "30 notices: 30 tide"
    plain = digest.get_body(("plain",))
    assert plain is not None
    assert [f"run {number} completed" in plain.get_content() for number in range(30)] == [True] * 30


def test_a_mail_server_that_is_away_is_tried_again_under_the_same_id(
    alice: User, bob: User, mail_server: MailReceiver, settings: Any
) -> None:
    mail_server.refusal = "451 later"
    tell(alice)
    assert send_due() == 0
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason) == ("retrying", "The mail server answered 451: later")
    first_id = delivery.message_id
    mail_server.refusal = ""
    Delivery.objects.update(next_attempt_at=timezone.now())
    assert send_due() == 1
    assert mail_server.mails[0]["message-id"] == f"<{first_id}@localhost>"


def test_an_address_that_the_server_refuses_is_given_up_at_once(alice: User, mail_server: MailReceiver) -> None:
    mail_server.refusal = "550 no such user"
    tell(alice)
    send_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason) == ("failed", "The mail server answered 550: no such user")


def test_what_fails_for_a_day_is_given_up_with_its_reason(alice: User, mail_server: MailReceiver) -> None:
    mail_server.refusal = "451 later"
    tell(alice)
    send_due()
    Delivery.objects.update(next_attempt_at=timezone.now(), created_at=timezone.now() - timedelta(hours=23, minutes=59))
    Delivery.objects.update(tries=9)
    send_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason) == (
        "failed",
        "Given up after 10 tries. The mail server answered 451: later",
    )


def test_a_dead_mail_server_pauses_all_mail_at_its_first_refusal(alice: User, bob: User, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    tell(alice, bob)
    assert send_due() == 0
    assert [item.next_attempt_at > timezone.now() for item in Delivery.objects.all()] == [True, True]
    assert {item.reason for item in Delivery.objects.all()} == {"The mail server failed: ConnectionRefusedError."}


def test_a_line_break_in_a_name_makes_no_header(alice: User, mail_server: MailReceiver) -> None:
    tell(alice, subject="a\nBcc: everybody@example.org")
    send_due()
    assert mail_server.mails[0]["subject"] == "a Bcc: everybody@example.org"
