"""Webhooks over real HTTP: signed, bounded, and never into the private network."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from standardwebhooks import Webhook

from cloudtrain_site.extensions import NoticeKind, notice_kinds
from cloudtrain_site.notices import sending, webhooks
from cloudtrain_site.notices.channels import (
    Owner,
    add_channel,
    change_channel,
    job_webhook_channel,
    remove_channel,
    rotate_secret,
)
from cloudtrain_site.notices.models import Channel, Delivery, Notice
from cloudtrain_site.notices.outbox import Audience, call_back, store
from cloudtrain_site.notices.sealing import open_texts
from cloudtrain_site.notices.sending import send_due
from jobs.webhooks import signatures
from tests.cloudtrain_site.notices.receivers import WebhookReceiver, answer_with

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def nameless(alice: User) -> User:
    """A user without a mail address: whatever is sent goes over the test's channel."""
    alice.email = ""
    alice.save()
    return alice


def tell(user: User, key: str = "job-1 ended", **fields: Any) -> None:
    store("tide", key=key, subject="flux: approved", audience=Audience(users=[user.pk]), **fields)


def the_delivery() -> Delivery:
    return Delivery.objects.get()


def try_again() -> None:
    Delivery.objects.filter(done_at=None).update(next_attempt_at=timezone.now())


def test_a_webhook_is_signed_and_says_what_happened(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    made = add_channel(Owner(nameless), "webhook", addresses=[f"{webhook_receiver.url}?token=x"])
    tell(nameless, text="by bob", link="/jobs/job-1", job_id="job-1", data={"status": "approved"})
    assert send_due() == 1
    (request,) = webhook_receiver.requests
    Webhook(made.secret).verify(request.body, request.headers)
    assert signatures.check(request.headers, request.body, made.secret, time.time()) == signatures.Check.VALID
    assert request.path == "/hook?token=x"
    assert json.loads(request.body) | {"timestamp": ""} == {
        "type": "tide",
        "timestamp": "",
        "data": {
            "subject": "flux: approved",
            "text": "by bob",
            "link": "http://localhost:8001/jobs/job-1",
            "job_id": "job-1",
            "status": "approved",
        },
    }


def test_no_address_and_no_secret_is_stored_or_logged_in_clear(
    nameless: User, webhook_receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = add_channel(Owner(nameless), "webhook", addresses=[f"{webhook_receiver.url}/recognisable"])
    row = Channel.objects.values().get()
    assert "recognisable" not in str(row)
    assert made.secret.removeprefix("whsec_") not in str(row)
    assert row["shown"].endswith("/…")
    with caplog.at_level("INFO"):
        tell(nameless)
        assert send_due() == 1
    assert "Notice sent" in caplog.text
    assert "recognisable" not in caplog.text


def test_a_secret_that_is_replaced_signs_for_another_day(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    made = add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url])
    new = rotate_secret(Owner(nameless), made.channel)
    tell(nameless, "one")
    send_due()
    Channel.objects.update(previous_secret_until=timezone.now() - timedelta(seconds=1))
    tell(nameless, "two")
    send_due()
    first, second = webhook_receiver.requests
    for secret in (made.secret, new):
        assert signatures.check(first.headers, first.body, secret, time.time()) == signatures.Check.VALID
    assert signatures.check(second.headers, second.body, new, time.time()) == signatures.Check.VALID
    assert signatures.check(second.headers, second.body, made.secret, time.time()) == signatures.Check.FORGED


def test_a_further_try_has_the_same_id_and_body(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url])
    webhook_receiver.answer = lambda handler: answer_with(handler, 503)
    tell(nameless)
    assert send_due() == 0
    assert (the_delivery().state, the_delivery().reason) == ("retrying", "It answered 503.")
    webhook_receiver.answer = lambda handler: answer_with(handler, 200)
    try_again()
    assert send_due() == 1
    first, second = webhook_receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == the_delivery().message_id
    assert first.body == second.body


def test_a_receiver_that_is_gone_gets_nothing_more(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    channel = add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url]).channel
    webhook_receiver.answer = lambda handler: answer_with(handler, 410)
    tell(nameless)
    send_due()
    channel.refresh_from_db()
    reason = "It answered 410: it accepts no more notices."
    assert (the_delivery().state, the_delivery().reason, channel.off_reason) == ("failed", reason, reason)
    tell(nameless, "two")
    send_due()
    assert len(webhook_receiver.requests) == 1
    change_channel(Owner(nameless), channel, on=True)
    tell(nameless, "three")
    send_due()
    assert len(webhook_receiver.requests) == 2


def test_a_redirect_into_the_private_network_is_not_followed(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url])
    secret_place = webhook_receiver.url.replace("/hook", "/private")
    webhook_receiver.answer = lambda handler: answer_with(handler, 307, Location=secret_place)
    tell(nameless)
    send_due()
    assert [request.path for request in webhook_receiver.requests] == ["/hook"]
    assert the_delivery().reason == "It answered 307: redirects are not followed."


def test_a_name_that_leads_into_the_private_network_is_not_called(
    nameless: User, webhook_receiver: WebhookReceiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name was public when the address was stored, and leads elsewhere at the call."""
    settings.NOTICE_NETWORKS = []
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to_loopback(socket.getaddrinfo))
    port = webhook_receiver.url.rpartition(":")[2]
    add_channel(Owner(nameless), "webhook", addresses=[f"http://hooks.example.org:{port}"])
    tell(nameless)
    send_due()
    assert webhook_receiver.requests == []
    assert the_delivery().state == "failed"
    assert the_delivery().reason.startswith("127.0.0.1 is a private address.")


def wait_for_the_end(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(1)  # until the caller hangs up
    handler.close_connection = True


def resolving_to_loopback(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "hooks.example.org" else host, *rest, **options)

    return getaddrinfo


def test_an_answer_of_a_gigabyte_is_cut(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    sent = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(10**9))
        handler.end_headers()
        try:
            for _ in range(10**9 // 65536):
                handler.wfile.write(b"x" * 65536)
                sent.append(65536)
        except OSError:
            handler.close_connection = True

    webhook_receiver.answer = flood
    add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url])
    tell(nameless)
    assert send_due() == 1
    assert sum(sent) < 50 * 10**6


def test_a_receiver_that_takes_its_time_delays_no_other(
    nameless: User, bob: User, webhook_receiver: WebhookReceiver
) -> None:
    """The slow one answers only when all of the other's have arrived."""
    arrived: list[str] = []
    is_over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/hook/slow":
            is_over.wait(8.0)
        else:
            arrived.append(handler.path)
        if len(arrived) == 20:
            is_over.set()
        answer_with(handler, 200)

    webhook_receiver.answer = answer
    User.objects.filter(pk=bob.pk).update(email="")
    add_channel(Owner(nameless), "webhook", addresses=[f"{webhook_receiver.url}/slow"])
    add_channel(Owner(bob), "webhook", addresses=[f"{webhook_receiver.url}/quick"])
    for number in range(20):
        tell(nameless, f"slow {number}")
        tell(bob, f"quick {number}")
    assert send_due() == 40
    assert is_over.is_set()


def test_a_receiver_that_never_answers_is_cut_off_and_left_alone(
    nameless: User, webhook_receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "CALL_SECONDS", 0.3)
    webhook_receiver.answer = wait_for_the_end
    add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url])
    for number in range(10):
        tell(nameless, f"job {number}")
    assert send_due() == 0
    deliveries = Delivery.objects.all()
    # The others wait with them: four found out for all.
    assert deliveries.filter(reason="There was no answer within 0 seconds.", tries=1).count() == 4
    assert deliveries.filter(tries=0).count() == 6
    assert all(item.next_attempt_at > timezone.now() for item in deliveries)


RAW_ANSWERS = {
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"x-a: y\r\n" * 20_000,
    "a long header": b"HTTP/1.1 200 OK\r\nx-a: " + b"y" * 100_000 + b"\r\n\r\n",
    "no HTTP": b"\x00\xff" * 5_000,
    "a wrong length": b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
    "wrong pieces": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", RAW_ANSWERS.values(), ids=RAW_ANSWERS)
def test_whatever_one_answers_the_others_get_their_notice(
    alice: User, bob: User, webhook_receiver: WebhookReceiver, raw: bytes
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/bad"):
            handler.close_connection = True
            with suppress(OSError):
                handler.wfile.write(raw)
        else:
            answer_with(handler, 204)

    webhook_receiver.answer = answer
    add_channel(Owner(alice), "webhook", addresses=[f"{webhook_receiver.url}/bad"])
    add_channel(Owner(bob), "webhook", addresses=[f"{webhook_receiver.url}/good"])
    tell(alice)
    tell(bob, key="other")
    send_due()
    bad = Delivery.objects.get(user=alice, kind="webhook")
    assert (bad.state, bad.reason) in [
        ("retrying", "Its response is not valid HTTP."),
        ("retrying", "It could not be reached."),
    ]
    assert Delivery.objects.get(user=bob, kind="webhook").state == "sent"


def test_an_unforeseen_error_ends_one_attempt_alone(
    alice: User, bob: User, webhook_receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = webhooks.send_webhook

    async def stumble(client: Any, call: Any) -> Any:
        if call.address.endswith("/bad"):
            raise RuntimeError("unforeseen")
        return await send(client, call)

    def refuse(mails: Any, deadline: float) -> Any:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(sending, "send_webhook", stumble)
    monkeypatch.setattr(sending, "send_mails", refuse)
    add_channel(Owner(alice), "webhook", addresses=[f"{webhook_receiver.url}/bad"])
    add_channel(Owner(bob), "webhook", addresses=[f"{webhook_receiver.url}/good"])
    tell(alice)
    tell(bob, key="other")
    send_due()
    states = {(item.user_id, item.kind): (item.state, item.reason) for item in Delivery.objects.all()}
    unsent = ("retrying", "It could not be sent. The log of this site says why.")
    assert states[bob.pk, "webhook"] == ("sent", "")
    assert states[alice.pk, "webhook"] == states[alice.pk, "mail"] == states[bob.pk, "mail"] == unsent


def test_an_address_of_a_notice_alone_is_signed_with_its_owner_s_secret(
    nameless: User, webhook_receiver: WebhookReceiver
) -> None:
    def prepare(notice: Notice) -> bool:
        call_back(notice, f"{webhook_receiver.url}?token=recognisable", nameless.pk)
        return True

    notice_kinds.register("with an address", NoticeKind(prepare=prepare))
    store("with an address", key="k", subject="s", audience=Audience())
    assert send_due() == 1
    (secret,) = open_texts(job_webhook_channel(nameless.pk).sealed_secrets)
    (request,) = webhook_receiver.requests
    Webhook(secret).verify(request.body, request.headers)
    assert "recognisable" not in f"{Delivery.objects.values().get()}{Notice.objects.values().get()}"


def test_a_removed_channel_gets_nothing_more(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    channel = add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url]).channel
    webhook_receiver.answer = lambda handler: answer_with(handler, 503)
    tell(nameless)
    send_due()
    remove_channel(Owner(nameless), channel)
    try_again()
    send_due()
    assert len(webhook_receiver.requests) == 1
    assert (the_delivery().state, the_delivery().reason) == ("failed", "The channel was removed.")


def test_one_kind_can_be_muted_for_a_channel(nameless: User, webhook_receiver: WebhookReceiver) -> None:
    add_channel(Owner(nameless), "webhook", addresses=[webhook_receiver.url], muted=["sea"])
    tell(nameless)
    assert send_due() == 0
    assert not Delivery.objects.exists()
