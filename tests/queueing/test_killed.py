"""Dispatchers that are killed in the middle of anything: each job is started once, and the queue drains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job, Organization
from jobs.statuses import JobStatus
from queueing import claims, operations
from queueing.models import QueueEntry, QueueState
from queueing.operations import ChangedBy
from queueing.policy import turn_of
from queueing.statuses import EntryStatus
from tests import factories

ENTRIES, PEOPLE = int(os.environ.get("CLOUDTRAIN_KILLED_ENTRIES", "150")), 20
RUNNING, PER_USER = 40, 3
SECONDS = 60.0 + ENTRIES / 10


def fill() -> None:
    organization = Organization.objects.create(name="acme")
    users = [factories.make_user(f"user-{n}", organization) for n in range(PEOPLE)]
    fields = {"provider": "file", "organization": organization}
    jobs = Job.objects.bulk_create(
        Job(**fields, submitted_by=users[number % PEOPLE], config_name="flux", correlation_id="killed")
        for number in range(ENTRIES)
    )
    now = timezone.now()
    QueueEntry.objects.bulk_create(
        QueueEntry(**fields, job=job, user_id=job.submitted_by_id, turn=turn_of(now, 0), enqueued_at=now)
        for job in jobs
    )
    limits = {"max_running": RUNNING, "max_running_per_user": PER_USER, "max_running_per_organization": RUNNING}
    QueueState.objects.update_or_create(pk=1, defaults=limits)


def check_limits() -> None:
    holders = list(QueueEntry.objects.taking_slots().values_list("user_id", flat=True))
    assert len(holders) <= RUNNING
    assert not holders or max(Counter(holders).values()) <= PER_USER


def end_what_runs() -> None:
    with unit_of_work():
        for entry in QueueEntry.objects.filter(status=EntryStatus.RUNNING).select_related("job"):
            lifecycle.finish(entry.job, JobStatus.COMPLETED, actor=SYSTEM, source=Source.POLL, reason="done")
            claims.end(entry.job)


def look_at_the_provider(started: Path) -> None:
    """What a person does about unconfirmed jobs: look, and have those submitted again that are not there."""
    for entry in QueueEntry.objects.exclude(unconfirmed_at=None).select_related("job"):
        if str(entry.job.submission_marker) not in started.read_text():
            operations.resubmit(entry, ChangedBy(SYSTEM, Source.API, "it is not there"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_each_job_is_started_once_however_many_dispatchers_are_killed(tmp_path: Path) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("several dispatchers are for PostgreSQL")
    fill()
    started = tmp_path / "started"
    started.touch()
    database = connection.settings_dict
    url = f"postgres://{database['USER']}:unused@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "cloudtrain_site.settings"}
    environment |= {"SIMPLETUNER_LOG_LEVEL": "CRITICAL"}
    command = [sys.executable, "-m", "tests.queueing.dispatchers", str(started)]
    deadline = time.monotonic() + SECONDS
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as program:
        try:
            while QueueEntry.objects.live().exists():
                assert time.monotonic() < deadline, "the queue did not drain"
                assert program.poll() is None
                check_limits()
                end_what_runs()
                look_at_the_provider(started)
        finally:
            program.communicate(b"end\n", timeout=20)
    lines = Counter(started.read_text().split())
    assert set(lines.values()) == {1}
    assert len(lines) == ENTRIES == Job.objects.filter(status=JobStatus.COMPLETED).count()
