"""Which deliveries a sender takes: what fails for one delays no other."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.notices import sending
from cloudtrain_site.notices.channels import MAX_CHANNELS, Owner, add_channel
from cloudtrain_site.notices.claims import CANDIDATES, SLOTS_AN_OWNER, claim, claim_mails, record
from cloudtrain_site.notices.models import Delivery
from cloudtrain_site.notices.outbox import Audience, due_deliveries, store
from cloudtrain_site.notices.outcomes import failed
from cloudtrain_site.notices.recipients import address_due
from cloudtrain_site.notices.sending import send_due
from tests.cloudtrain_site.notices.receivers import WebhookReceiver, answer_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def tell(alice: User, bob: User) -> Callable[[User, str], None]:
    """Store a notice and its deliveries: over webhooks alone."""
    User.objects.update(email="")

    def tell(user: User, key: str) -> None:
        store("tide", key=key, subject="s", audience=Audience(users=[user.pk]))
        address_due()

    return tell


def test_who_has_all_slots_does_not_stand_before_the_others(
    alice: User, bob: User, tell: Callable[[User, str], None]
) -> None:
    for number in range(MAX_CHANNELS):
        add_channel(Owner(alice), "webhook", addresses=[f"https://dead.example.org/{number}"])
    add_channel(Owner(bob), "webhook", addresses=["https://alive.example.org/"])
    for number in range(2 * CANDIDATES // MAX_CHANNELS):
        tell(alice, f"job {number}")
    tell(bob, "job of bob")
    taken = claim([])
    assert [item.first.user for item in taken] == [alice] * SLOTS_AN_OWNER
    assert [item.first.user for item in claim(taken)] == [bob]


def test_what_one_receiver_fails_to_take_pauses_its_others_for_a_minute_at_most(
    alice: User, tell: Callable[[User, str], None]
) -> None:
    add_channel(Owner(alice), "webhook", addresses=["https://choosy.example.org/"])
    tell(alice, "not taken")
    Delivery.objects.update(tries=8)
    taken = claim([])
    tell(alice, "other")
    record([(taken[0], failed("It answered 500."))])
    hours, minute = Delivery.objects.order_by("id").values_list("next_attempt_at", flat=True)
    assert hours > timezone.now() + timedelta(hours=2)
    assert timezone.now() < minute <= timezone.now() + timedelta(minutes=1)


@pytest.mark.slow
def test_a_sender_that_is_about_to_end_waits_for_nobody_who_failed(
    alice: User,
    bob: User,
    tell: Callable[[User, str], None],
    webhook_receiver: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_channel(Owner(alice), "webhook", addresses=[f"{webhook_receiver.url}/alice"])
    add_channel(Owner(bob), "webhook", addresses=[f"{webhook_receiver.url}/bob"])
    webhook_receiver.answer = lambda handler: answer_with(handler, 503)
    tell(alice, "one")
    assert send_due() == 0
    webhook_receiver.answer = lambda handler: answer_with(handler, 204)
    Delivery.objects.update(next_attempt_at=timezone.now())
    tell(bob, "two")
    monkeypatch.setattr(sending, "HEALTHY_SECONDS", sending.CLAIM_SECONDS)
    assert send_due() == 1
    assert [request.path for request in webhook_receiver.requests] == ["/hook/alice", "/hook/bob"]


def test_mails_that_a_batch_had_no_time_for_are_due_at_once(alice: User, bob: User, mailoutbox: list[Any]) -> None:
    store("tide", key="k", subject="s", audience=Audience(users=[alice.pk, bob.pk]))
    address_due()
    record(async_to_sync(sending._send_mails)(claim_mails(5), time.monotonic()))
    assert mailoutbox == []
    assert {(item.tries, item.reason) for item in due_deliveries()} == {(0, "")}
    assert send_due() == 2
