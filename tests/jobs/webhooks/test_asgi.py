"""Deliveries over real HTTP: answered in front of Django, together with others that wait, as it would answer them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django_q.models import OrmQ
from pytest import MonkeyPatch

from examples.fake_replicate import FakeReplicate
from jobs.models import Job, JobEvent, WebhookDelivery
from jobs.statuses import JobStatus
from jobs.webhooks import asgi, batcher, inbox
from tests.jobs.webhooks.deliveries import MARKER, SECRET, URL, body_of, sign
from tests.lost_connections import cut_all_but, own_backend
from tests.wait import wait_until
from tests.web import web_server

pytestmark = pytest.mark.slow

__all__ = ["web_server"]

MakeJob = Callable[..., Job]


@pytest.fixture
def webhook_url(web_server: str, secret: str, monkeypatch: MonkeyPatch) -> str:
    """The address to deliver at; its connection is given back at once, so that the database can be emptied."""
    monkeypatch.setattr(batcher, "IDLE_SECONDS", 0.01)
    return web_server + URL


@pytest.fixture
def as_django_answers(monkeypatch: MonkeyPatch) -> None:
    """Nothing is small enough for the short way."""
    monkeypatch.setattr(asgi, "MAX_BODY_BYTES", -1)


def test_a_delivery_is_applied_and_answered(webhook_url: str, secret: str, at_replicate: MakeJob) -> None:
    job = at_replicate()
    body = body_of(job)
    headers = {**sign(body, secret), "X-Correlation-ID": "from-outside"}
    answer = httpx.post(webhook_url, content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert answer.headers["x-correlation-id"] == "from-outside"
    assert "default-src 'self'" in answer.headers["content-security-policy"].split("; ")
    assert Job.objects.get().status == JobStatus.RUNNING
    assert WebhookDelivery.objects.get().sender == "127.0.0.1"


@pytest.mark.postgresql
def test_a_connection_that_was_cut_between_two_deliveries_fails_neither(
    webhook_url: str, secret: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "IDLE_SECONDS", 1.0)  # it is kept from the first to the second
    body = b'{"id": "abc", "status": "processing"}'
    for name in ("msg_1", "msg_2"):
        assert httpx.post(webhook_url, content=body, headers=sign(body, secret, delivery=name)).status_code == 200
        assert cut_all_but(own_backend()) >= 1
    assert WebhookDelivery.objects.count() == 2


@pytest.mark.parametrize("way", ["short", "django"])
def test_a_correlation_id_that_cannot_be_used_is_replaced_and_that_is_logged(
    webhook_url: str, secret: str, way: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    if way == "django":
        request.getfixturevalue("as_django_answers")
    body = b'{"id": "abc", "status": "processing"}'
    answer = httpx.post(webhook_url, content=body, headers={**sign(body, secret), "X-Correlation-ID": "a b"})
    assert len(answer.headers["x-correlation-id"]) == 12
    assert [r.levelname for r in caplog.records if r.getMessage() == "Correlation id replaced"] == ["WARNING"]


def test_the_marker_is_read_from_the_address(webhook_url: str, secret: str, make_job: MakeJob) -> None:
    make_job(provider="replicate", submission_marker=MARKER)
    body = b'{"id": "abc", "status": "processing"}'
    assert httpx.post(f"{webhook_url}?ct={MARKER}", content=body, headers=sign(body, secret)).status_code == 200
    assert Job.objects.get().external_id == "abc"


@pytest.mark.parametrize("way", ["short", "django"])
def test_a_forged_delivery_is_refused_in_the_contracts_shape(
    webhook_url: str, way: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    if way == "django":
        request.getfixturevalue("as_django_answers")
    answer = httpx.post(webhook_url, content=b"{}", headers=sign(b"another", SECRET))
    error = answer.json()
    assert (answer.status_code, error["code"], error["detail"]) == (
        401,
        "webhook_refused",
        "This delivery is not accepted.",
    )
    assert error["correlation_id"] == answer.headers["x-correlation-id"]
    assert WebhookDelivery.objects.get().verdict == "forged"


def test_many_at_the_same_moment_are_all_kept(
    webhook_url: str, secret: str, at_replicate: MakeJob, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 2)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    job = at_replicate()
    bodies = [body_of(job, logs=str(number)) for number in range(30)]

    async def deliver_all() -> list[int]:
        async with httpx.AsyncClient(timeout=30) as client:
            signed = [(body, sign(body, secret, delivery=f"msg_{place % 20}")) for place, body in enumerate(bodies)]
            posts = (client.post(webhook_url, content=body, headers=own) for body, own in signed)
            answers = await asyncio.gather(*posts)
        return [answer.status_code for answer in answers]

    assert asyncio.run(deliver_all()) == [200] * 30
    assert WebhookDelivery.objects.count() == 20
    assert sum(WebhookDelivery.objects.values_list("repeats", flat=True)) == 10
    assert JobEvent.objects.count() <= 1


def test_in_a_rush_nobody_is_kept_waiting_who_comes_long_after_the_last_one(
    webhook_url: str, secret: str, at_replicate: MakeJob, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "GATHER_SECONDS", 60.0)
    inbox._burst.until = math.inf
    body = body_of(at_replicate())
    assert httpx.post(webhook_url, content=body, headers=sign(body, secret)).status_code == 200


def test_what_comes_after_the_last_task_of_a_rush_is_applied_when_it_is_over(
    webhook_url: str, secret: str, at_replicate: MakeJob, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    body = body_of(at_replicate())
    for delivery in ("msg_1", "msg_2"):
        assert httpx.post(webhook_url, content=body, headers=sign(body, secret, delivery=delivery)).status_code == 200
    # The first one's task may have ended before the second one came.
    wait_until(lambda: [task.func() for task in OrmQ.objects.all()] == ["jobs.tasks.apply_webhooks"] * 2)


def test_a_large_one_goes_djangos_way(webhook_url: str, secret: str, at_replicate: MakeJob) -> None:
    body = body_of(at_replicate(), logs="line\n" * 300_000)
    assert httpx.post(webhook_url, content=body, headers=sign(body, secret)).status_code == 200
    assert Job.objects.get().log_size == 1_500_000


def test_one_of_unknown_length_goes_djangos_way(webhook_url: str, secret: str, at_replicate: MakeJob) -> None:
    body = body_of(at_replicate())
    assert httpx.post(webhook_url, content=iter([body]), headers=sign(body, secret)).status_code == 200
    assert Job.objects.get().status == JobStatus.RUNNING


def test_what_wait_in_memory_are_not_too_many(
    webhook_url: str, secret: str, at_replicate: MakeJob, monkeypatch: MonkeyPatch, as_django_answers: None
) -> None:
    monkeypatch.setattr(asgi, "MAX_BODY_BYTES", 1_000)
    monkeypatch.setattr(asgi, "MAX_WAITING_BYTES", 10)
    body = body_of(at_replicate())
    assert httpx.post(webhook_url, content=body, headers=sign(body, secret)).status_code == 200


def test_a_get_is_left_to_django(webhook_url: str) -> None:
    assert httpx.get(webhook_url).status_code == 405


def test_without_the_secret_the_sender_has_to_come_again(webhook_url: str, fake: FakeReplicate) -> None:
    fake.faults.add("unauthenticated")
    answer = httpx.post(webhook_url, content=b"{}", headers=sign(b"{}"))
    assert (answer.status_code, answer.json()["code"]) == (503, "webhook_refused")


def test_an_error_of_ours_is_answered_as_one_and_the_next_delivery_is_taken(
    webhook_url: str, secret: str, at_replicate: MakeJob, monkeypatch: MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("broken")

    body = body_of(at_replicate())
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "_store", fail)
        answer = httpx.post(webhook_url, content=body, headers=sign(body, secret))
    assert (answer.status_code, answer.json()["code"]) == (500, "server_error")
    assert httpx.post(webhook_url, content=body, headers=sign(body, secret)).status_code == 200
