"""The curves of a job over the API."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Job, LogPiece
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db
LOG = "".join(f"step {step}/900 loss: {9 if step == 333 else 0.5} lr: 1e-4\n" for step in range(1, 601))


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job(provider="replicate", external_id="abc", status=JobStatus.COMPLETED, config={"train_batch_size": 4})


def text_of(answer: Any) -> str:
    async def whole() -> bytes:
        return b"".join([piece async for piece in answer.streaming_content])

    return async_to_sync(whole)().decode()


def write(job: Job, log: str) -> None:
    LogPiece.objects.create(job=job, start=0, end=len(log.encode()), text=log)
    Job.objects.filter(pk=job.pk).update(log_size=len(log.encode()))


@pytest.fixture
def get(client: Client, alice: User, job: Job) -> Callable[[str], Any]:
    client.force_login(alice)
    return lambda rest: client.get(f"/api/cloud/jobs/{job.pk}/{rest}")


def test_fewer_points_keep_the_extremes(get: Callable[[str], Any], job: Job) -> None:
    write(job, LOG)
    assert len(get("metrics").json()["series"]["loss"]) == 600
    loss = get("metrics?points=10").json()["series"]["loss"]
    assert len(loss) <= 10
    assert [loss[0], loss[-1]] == [[1, 0.5], [600, 0.5]]
    assert [333, 9.0] in loss


@pytest.mark.parametrize("query", ["points=9", "points=10001", "points=many", "point=100"])
def test_what_is_no_number_of_points_is_refused(get: Callable[[str], Any], query: str) -> None:
    answer = get(f"metrics?{query}")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [query.partition("=")[0]])


def test_gaps_and_times_stand_beside_the_series(get: Callable[[str], Any], job: Job) -> None:
    write(job, "2026-01-01 10:00:00 step 1/9 loss: 1\n2026-01-01 10:00:30 step 2/9 loss: nan\n")
    assert get("metrics").json() == {
        "series": {"loss": [[1, 1.0]], "learning_rate": []},
        "seconds": [[1, 0.0], [2, 30.0]],
        "gaps": {"loss": [[2, 2]]},
    }


def test_a_speed_in_steps_is_one_in_images_when_the_batch_is_known(get: Callable[[str], Any], job: Job) -> None:
    write(job, "Steps: 1%|#| 3/9 [00:05<00:09, 2.00s/it, loss=1]\n")
    assert get("metrics").json()["series"] == {"loss": [[3, 1.0]], "learning_rate": [], "images_per_second": [[3, 2.0]]}
    Job.objects.filter(pk=job.pk).update(config={})
    assert get("metrics").json()["series"]["steps_per_second"] == [[3, 0.5]]


def test_they_are_a_table(get: Callable[[str], Any], job: Job) -> None:
    write(job, "2026-01-01 10:00:00 step 1/9 loss: 1 a_b: 5\n2026-01-01 10:00:30 step 2/9 loss: nan lr: 1e-4\n")
    answer = get("metrics.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{job.config_name}-{job.pk}-curves.csv"'
    assert list(csv.reader(io.StringIO(text_of(answer)))) == [
        ["step", "seconds", "loss", "learning_rate", "a_b"],
        ["1", "0.0", "1.0", "", "5.0"],
        ["2", "30.0", "nan", "0.0001", ""],
    ]


@pytest.mark.parametrize("rest", ["metrics", "metrics.csv"])
def test_a_stranger_finds_none(client: Client, charlie: User, job: Job, rest: str) -> None:
    client.force_login(charlie)
    assert client.get(f"/api/cloud/jobs/{job.pk}/{rest}").status_code == 404
