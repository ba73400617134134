"""Bursts of deliveries: detected by their number within a second, stored at once, and applied by a task soon after."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django_q.models import OrmQ

from jobs.configs.secrets import sealed_columns
from jobs.models import Job, WebhookDelivery
from jobs.webhooks import inbox
from tests.jobs.webhooks.test_views import body_of, incoming, secret

__all__ = ["secret"]

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


@pytest.mark.parametrize("said", [{"error": "no plain-words-as-secret"}, {"logs": "plain-words-as-secret\n"}])
def test_either_the_error_or_the_log_is_searched_for_the_jobs_own_secrets(
    clock: SimpleNamespace, secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    job = at_replicate(**sealed_columns(config={"hub_token": "plain-words-as-secret"}))
    inbox.process_batch([incoming(body_of(job, "failed", **said), secret, "msg_1")])
    row = WebhookDelivery.objects.get()
    assert "plain-words" not in f"{row.payload}{row.log}"
    assert "***" in f"{row.payload}{row.log}"
