"""Runs from before their time of a step was kept."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from jobs.costs.pace import kind_of_config
from jobs.models import Job, LogPiece

pytestmark = pytest.mark.django_db
FILL: Any = importlib.import_module("jobs.migrations.0022_paces_of_old_runs")
RENAME: Any = importlib.import_module("jobs.migrations.0030_kinds_with_all_that_decides_a_step")
CONFIG = {"model_family": "flux", "max_train_steps": 1000}


@pytest.fixture
def ran(make_job: Callable[..., Job]) -> Callable[..., Job]:
    """A run of 600 seconds that ended so many minutes ago, as an older version stored it."""

    def run(minutes: float = 1, log: str = "", **fields: Any) -> Job:
        end = timezone.now() - timedelta(minutes=minutes)
        defaults = {"status": "completed", "step": 1000, "total_steps": 1000, "config": CONFIG, "completed_at": end}
        job = make_job(**{**defaults, "started_at": end - timedelta(seconds=600), **fields})
        if log:
            LogPiece.objects.create(job=job, start=0, end=len(log), text=log)
        return job

    return run


def filled(job: Job) -> float | None:
    job.refresh_from_db()
    return job.seconds_per_step


def test_an_older_run_tells_as_a_new_one_does(ran: Callable[..., Job]) -> None:
    plain, failed, resumes = ran(), ran(status="failed"), ran(config={**CONFIG, "resume_from_checkpoint": "latest"})
    resumed = ran(config=resumes.config, log="  - Steps completed: 500\n")
    longer, without = ran(step=1001), ran(step=None)
    FILL.fill(apps, None)
    assert [filled(job) for job in (plain, resumed)] == [pytest.approx(0.6), pytest.approx(1.2)]
    assert [filled(job) for job in (failed, resumes, longer, without)] == [None] * 4


def test_the_newest_of_a_kind_are_enough(ran: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FILL, "MOST_OF_A_KIND", 2)
    runs = [ran(minutes) for minutes in (3, 1, 2)]
    other = ran(4, hardware_profile="h100")
    FILL.fill(apps, None)
    assert [filled(job) is not None for job in (*runs, other)] == [False, True, True, True]


def test_runs_of_an_older_kind_get_the_one_that_estimates_ask_for(ran: Callable[..., Job]) -> None:
    fields = {"training_kind": '["flux", null, null, null, 1]', "seconds_per_step": 0.6}
    plain, precise = ran(**fields), ran(config={**CONFIG, "base_model_precision": "int8-quanto"}, **fields)
    doubtful, silent = ran(config={**CONFIG, "optimizer": ["soap"]}, **fields), ran()
    RENAME.rename(apps, None)
    for job in (plain, precise, doubtful, silent):
        job.refresh_from_db()
    assert [job.seconds_per_step for job in (plain, precise, doubtful, silent)] == [0.6, 0.6, None, None]
    kinds = [kind_of_config(job.config, []) for job in (plain, precise)]
    assert [plain.training_kind, precise.training_kind] == kinds
    assert kinds[0] != kinds[1]
    assert (doubtful.training_kind, silent.training_kind) == (None, None)


def test_only_the_newest_runs_get_their_kind_anew(ran: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RENAME, "MOST_RUNS", 1)
    older, newer = (ran(minutes, training_kind="[]", seconds_per_step=0.6) for minutes in (2, 1))
    RENAME.rename(apps, None)
    assert set(Job.objects.filter(training_kind="[]")) == {older}
    newer.refresh_from_db()
    assert newer.training_kind == kind_of_config(CONFIG, [])
