"""Which runs an estimate learns from, and what of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.providers.progress import read_progress
from jobs.statuses import JobStatus
from tests.jobs.costs.runs import BAR, FLUX, seconds_of


def test_runs_of_one_kind_count_whatever_their_spelling_and_length(
    provider: ProviderConfig, ran: Callable[..., Job]
) -> None:
    for _ in range(5):
        ran({"--model-family": "FLUX", "model_type": "lora", "resolution": 1.0, "--train_batch_size": "1"}, seconds=900)
    assert seconds_of(provider, {**FLUX, "max_train_steps": 10}) == pytest.approx((9, 9))
    assert seconds_of(provider, FLUX, "l40s") == (2000, 2000)


@pytest.mark.parametrize(
    ("steps", "seconds", "fields"),
    [
        (1000, -600, {}),
        (1000, 0, {}),
        (100, 59, {}),
        (1001, 600, {}),
        (1000, 600, {"status": JobStatus.FAILED}),
        (1000, 600, {"progress": None}),
        (1000, 600, {"hardware": "l40s"}),
        (1000, 600, {"completed_at": timezone.now() + timedelta(days=900)}),
        (1000, 600, {"first_step": 1000}),
    ],
)
def test_a_run_that_does_not_hang_together_tells_nothing(
    provider: ProviderConfig, ran: Callable[..., Job], steps: int, seconds: float, fields: dict[str, Any]
) -> None:
    for _ in range(5):
        assert ran(steps=steps, seconds=seconds, **fields).seconds_per_step is None
    assert seconds_of(provider) == (2000, 2000)


@pytest.mark.parametrize(("steps", "seconds"), [(1000, 61), (101, 5), (2, 61)])
def test_a_run_of_a_minute_or_a_hundred_steps_tells(ran: Callable[..., Job], steps: int, seconds: float) -> None:
    assert ran(steps=steps, seconds=seconds).seconds_per_step == pytest.approx(seconds / steps, rel=0.01)


def test_a_run_that_ended_early_counts_the_steps_that_it_made(ran: Callable[..., Job]) -> None:
    early = read_progress(BAR.format(step=500, total=1000))
    assert ran(seconds=600, progress=early).seconds_per_step == pytest.approx(1.2)


def test_a_run_that_goes_on_counts_the_steps_that_it_made_itself(
    provider: ProviderConfig, ran: Callable[..., Job]
) -> None:
    resumed = {**FLUX, "max_train_steps": 30_000, "resume_from_checkpoint": "latest"}
    for _ in range(5):
        ran(resumed, steps=30_000, seconds=3000, first_step=25_000)
    assert seconds_of(provider, {**FLUX, "max_train_steps": 30_000}) == pytest.approx((18_000, 18_000))


def test_a_run_that_may_have_gone_on_from_nobody_knows_where_tells_nothing(ran: Callable[..., Job]) -> None:
    resumed = {**FLUX, "resume_from_checkpoint": "latest"}
    assert ran(resumed).seconds_per_step is None
    assert ran(resumed, first_step=0).seconds_per_step == pytest.approx(0.6)


def test_a_log_that_comes_after_the_end_tells_too(ran: Callable[..., Job]) -> None:
    job = ran({**FLUX, "resume_from_checkpoint": "latest"}, progress=None)
    progress = read_progress(BAR.format(step=1000, total=1000))
    late = Snapshot(f"x-{job.pk}", JobStatus.COMPLETED, progress=progress, first_step=500)
    assert lifecycle.apply_final_details(job, late)
    assert Job.objects.get().seconds_per_step == pytest.approx(1.2)
    job.refresh_from_db()
    lifecycle.apply_final_details(job, Snapshot(f"x-{job.pk}", JobStatus.COMPLETED, output_url="https://a.example/x"))
    assert Job.objects.get().seconds_per_step == pytest.approx(1.2)
