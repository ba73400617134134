"""The health page says when notices wait too long, and which receivers fail, and names nobody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.notices import health
from cloudtrain_site.notices.channels import Owner, add_channel, switch_off
from cloudtrain_site.notices.models import Delivery, Notice
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.notices.recipients import address_due

pytestmark = pytest.mark.django_db


def stored(user: User) -> None:
    store("invitation", key="k", subject="s", audience=Audience(users=[user.pk]))


def test_nothing_is_wrong_at_first(client_of: Any, alice: User) -> None:
    assert health.what_is_wrong() == ""
    client: APIClient = client_of(alice)
    components = {item["name"]: item for item in client.get("/api/cloud/health").json()["components"]}
    assert components["notices"]["status"] == "healthy"
    assert components["notices"]["message"] == "0 deliveries wait or are tried again."


def test_a_notice_that_nobody_sends_is_a_fault(alice: User) -> None:
    stored(alice)
    assert health.what_is_wrong() == ""
    Notice.objects.update(due_at=timezone.now() - timedelta(minutes=6))
    assert health.what_is_wrong().startswith("1 notices should have been sent more than 5 minutes ago.")


def test_a_delivery_that_nobody_sends_is_a_fault(alice: User) -> None:
    stored(alice)
    address_due()
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=6))
    assert health.what_is_wrong().startswith("1 notices should")


def test_a_mail_server_that_fails_is_a_fault(alice: User) -> None:
    stored(alice)
    address_due()
    later = timezone.now() + timedelta(minutes=4)
    Delivery.objects.update(tries=3, reason="The mail server failed: ConnectionRefusedError.", next_attempt_at=later)
    assert health.what_is_wrong() == (
        "1 mails can't be sent: The mail server failed: ConnectionRefusedError. Check EMAIL_URL and the mail server."
    )


def test_one_dead_receiver_is_a_number_and_no_fault(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(email="")
    made = add_channel(Owner(alice), "webhook", addresses=["https://alices-host.example.org/hook"])
    stored(alice)
    address_due()
    Delivery.objects.update(tries=4, next_attempt_at=timezone.now() + timedelta(hours=1), reason="It answered 500.")
    assert health.what_is_wrong() == ""
    text = health.in_numbers()
    assert text == "1 deliveries wait or are tried again; 1 receiver failed three times, with 1 of these."
    switch_off(made.channel, "It answered 410: it accepts no more notices.")
    assert health.in_numbers() == "0 deliveries wait or are tried again; 1 channel is off."
    assert "alices-host" not in text
