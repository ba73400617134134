"""Bursts of deliveries: detected by their number within a second, stored at once, and applied by a task soon after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from jobs.configs.secrets import sealed_columns
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.webhooks import inbox
from tests.jobs.webhooks.deliveries import body_of, incoming

MakeJob = Callable[..., Job]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of the inbox, at `now` seconds."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(inbox, "monotonic", lambda: clock.now)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    return clock


def tasks() -> list[str]:
    return [task.func() for task in OrmQ.objects.all()]


def test_more_than_ten_within_a_second_are_a_burst_for_two_seconds(clock: SimpleNamespace) -> None:
    burst = inbox._burst
    assert not burst.add(10)
    clock.now += 0.5
    assert burst.add(1)
    clock.now += 1.9
    assert burst.add(1)
    assert inbox.is_burst()
    clock.now += 0.2
    assert not burst.add(1)
    assert not inbox.is_burst()


def test_more_than_ten_over_a_second_are_none(clock: SimpleNamespace) -> None:
    for _ in range(30):
        assert not inbox._burst.add(1)
        clock.now += 0.11


def test_an_eleventh_that_comes_a_second_after_the_first_is_none(clock: SimpleNamespace) -> None:
    assert not inbox._burst.add(1)
    clock.now += 1
    assert not inbox._burst.add(10)
    assert inbox._burst.add(1)


def test_a_task_is_requested_once_a_second_and_once_more_at_the_end(
    clock: SimpleNamespace, secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    for number in range(3):
        inbox.process_batch([incoming(body_of(at_replicate()), secret, f"msg_{number}")])
        clock.now += 0.3
    assert tasks() == ["jobs.tasks.apply_webhooks"]
    assert WebhookDelivery.objects.filter(outcome="").count() == 3
    inbox.after_burst()
    inbox.after_burst()
    assert tasks() == ["jobs.tasks.apply_webhooks"] * 2


def test_a_task_that_cannot_be_requested_is_logged_and_left_to_the_upkeep(
    clock: SimpleNamespace, db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(name: str) -> None:
        raise RuntimeError("the queue can't be written")

    inbox._burst.is_task_owed = True
    monkeypatch.setattr(inbox, "async_task", crash)
    inbox.after_burst()
    assert "Webhooks wait for the upkeep to apply them" in caplog.text


@pytest.mark.parametrize("fields", [{"error": "no plain-words-as-secret"}, {"logs": "plain-words-as-secret\n"}])
def test_either_the_error_or_the_log_is_searched_for_the_jobs_own_secrets(
    clock: SimpleNamespace, secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    job = at_replicate(**sealed_columns(config={"hub_token": "plain-words-as-secret"}))
    inbox.process_batch([incoming(body_of(job, "failed", **fields), secret, "msg_1")])
    row = WebhookDelivery.objects.get()
    assert "plain-words" not in f"{row.payload}{row.log}"
    assert "***" in f"{row.payload}{row.log}"


def test_many_are_stored_in_as_many_statements_as_one(
    clock: SimpleNamespace, secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    ProviderConfig.objects.create(name="replicate", webhook_networks="127.0.0.0/8")
    counts: list[int] = []
    for count in (1, 1, 7):  # the first makes what is made once
        bodies = [body_of(at_replicate(), "succeeded", logs="step 9/10\n") for _ in range(count)]
        batch = [incoming(body, secret, f"msg_{count}_{len(counts)}_{n}") for n, body in enumerate(bodies)]
        with CaptureQueriesContext(connection) as queries:
            inbox.process_batch(batch)
        assert [one.status for one in batch] == [200] * count
        counts.append(len(queries))
    assert counts[1] == counts[2]
    assert WebhookDelivery.objects.filter(outcome="").count() == 9


def test_without_a_burst_no_task_is_requested(clock: SimpleNamespace, db: None) -> None:
    inbox.after_burst()
    assert tasks() == []


def test_what_fails_as_a_whole_is_told_to_each_and_takes_no_earlier_error_away(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [incoming(b"{}", secret, f"msg_{number}") for number in range(2)]
    batch[1].error = LookupError("its own")

    def crash(batch: Any) -> None:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(inbox, "_process", crash)
    inbox.process_batch(batch)
    assert [repr(one.error) for one in batch] == ["RuntimeError('the database is away')", "LookupError('its own')"]


def test_a_delivery_that_comes_twice_in_one_batch_is_one(
    clock: SimpleNamespace, secret: str, make_job: MakeJob
) -> None:
    job = make_job(provider="replicate", external_id="x-1")
    inbox.process_batch([incoming(body_of(job), secret, "msg_1") for _ in range(2)])
    assert WebhookDelivery.objects.values_list("delivery_id", "repeats").get() == ("msg_1", 1)


def test_refusals_are_counted_by_the_hour_and_good_deliveries_are_none(
    secret: str, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_REFUSALS_PER_HOUR", 1)
    WebhookDelivery.objects.create(provider="replicate", verdict="accepted")
    WebhookDelivery.objects.create(
        provider="replicate", verdict="forged", received_at=timezone.now() - timedelta(minutes=61)
    )
    for _ in range(3):
        inbox.process_batch([inbox.IncomingDelivery(inbox.WebhookRequest({}, b"{}", "127.0.0.1"))])
    assert WebhookDelivery.objects.filter(verdict="forged").count() == 2


def test_the_secrets_of_another_providers_job_are_none_of_this_ones(
    clock: SimpleNamespace, secret: str, make_job: MakeJob
) -> None:
    job = make_job(provider="local", external_id="x-1", **sealed_columns(config={"hub_token": "plain-words-as-secret"}))
    inbox.process_batch([incoming(body_of(job, "failed", error="plain-words-as-secret"), secret, "msg_1")])
    assert "plain-words-as-secret" in str(WebhookDelivery.objects.get().payload)
