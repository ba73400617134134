"""The work of applying deliveries: a fixed number of statements for each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.models import Job, WebhookDelivery
from jobs.statuses import JobStatus
from jobs.webhooks import apply, inbox
from tests.jobs.webhooks.deliveries import body_of, incoming

MakeJob = Callable[..., Job]


@pytest.fixture
def stored(secret: str, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Store deliveries of one status, each of a job of its own, as in a burst."""
    monkeypatch.setattr(inbox, "BURST_DELIVERIES", 0)
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())

    def store(count: int, status: str, **fields: Any) -> None:
        jobs = [
            at_replicate(status=JobStatus.RUNNING, started_at=timezone.now() - timedelta(hours=1)) for _ in range(count)
        ]
        number = WebhookDelivery.objects.count()
        inbox.process_batch(
            [incoming(body_of(job, status, **fields), secret, f"msg_{number + n}") for n, job in enumerate(jobs)]
        )

    return store


def statements_to_apply() -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        apply.apply_leftovers()
    assert not WebhookDelivery.objects.filter(outcome="").exists()
    return [query["sql"] for query in queries.captured_queries]


def test_an_end_with_its_log_takes_four_statements_more(stored: Callable[..., None]) -> None:
    stored(2, "succeeded", logs="step 9/10\n")
    statements_to_apply()  # whatever is made once
    stored(2, "succeeded", logs="step 9/10\n")
    few = statements_to_apply()
    stored(7, "succeeded", logs="step 9/10\n")
    many = statements_to_apply()
    # The job, its log's size and piece, and the delivery; history, events and all that is read come at once.
    assert len(many) - len(few) == 5 * 4
    assert set(Job.objects.values_list("status", "log_size")) == {("completed", 10)}
