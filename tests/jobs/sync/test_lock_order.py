"""Where rows are locked one by one, whoever changes several jobs takes them by their ids: no deadlock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from cloudtrain_site.states import Source
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.providers.base import Answers, ProviderError, Snapshot
from jobs.providers.replicate.predictions import read_snapshot
from jobs.statuses import JobStatus
from jobs.sync.apply import SnapshotBatch
from jobs.webhooks.apply import apply_each
from tests.wait import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


@pytest.fixture
def jobs(make_job: Callable[..., Job]) -> tuple[Job, Job]:
    """Two, of which the second lies before the first on the disk."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    made = [
        make_job(id=name * 26, provider="replicate", status=JobStatus.QUEUED, external_id=f"x-{name}")
        for name in ("b", "a")
    ]
    return made[1], made[0]


def somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def takes_the_first_first(jobs: tuple[Job, Job], action: Callable[[], Any]) -> bool:
    """Whether `action`, which changes both, has none of them as long as somebody else has the first."""

    def run() -> None:
        try:
            action()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=jobs[0].pk)
        thread.start()
        wait_until(somebody_waits_for_us)
        free = Job.objects.select_for_update(skip_locked=True).filter(pk=jobs[1].pk).exists()
    thread.join(10)
    assert not thread.is_alive()
    return free


def delivery_of(job: Job, **fields: Any) -> tuple[WebhookDelivery, Snapshot]:
    body = {"id": job.external_id, "status": "starting", **fields}
    kept = WebhookDelivery.objects.create(provider="replicate", verdict="accepted", payload=body)
    return kept, read_snapshot(body)


def test_deliveries_do(jobs: tuple[Job, Job]) -> None:
    pairs = [delivery_of(jobs[1], status="processing"), delivery_of(jobs[0], version="v2")]
    assert takes_the_first_first(jobs, lambda: apply_each(pairs, ProviderConfig.of_all(["replicate"])))
    assert set(Job.objects.values_list("pk", "status")) == {(jobs[0].pk, "queued"), (jobs[1].pk, "running")}


@pytest.mark.parametrize(
    "answer",
    [
        lambda job: Snapshot(job.external_id, JobStatus.RUNNING),
        lambda job: Snapshot(job.external_id, JobStatus.QUEUED, metadata={"version": "v2"}),
        lambda job: Snapshot(job.external_id, JobStatus.QUEUED),
        lambda job: ProviderError("not now"),
    ],
    ids=["a new status", "a new detail", "a sign of life", "a failure"],
)
def test_a_refresh_does(jobs: tuple[Job, Job], answer: Callable[[Job], Snapshot | ProviderError]) -> None:
    batch = SnapshotBatch({job.pk: job for job in jobs}, ProviderConfig(name="replicate"), Source.POLL)
    answers: Answers = {job.pk: answer(job) for job in reversed(jobs)}
    assert takes_the_first_first(jobs, lambda: batch.apply(answers))
