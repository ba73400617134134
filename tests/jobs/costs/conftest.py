"""What the tests of estimates share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.states import Source
from jobs import lifecycle
from jobs.models import Job, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.providers.progress import read_progress
from jobs.statuses import JobStatus
from tests.jobs.costs.runs import BAR, FLUX

MakeJob = Callable[..., Job]


@pytest.fixture
def provider(db: None) -> ProviderConfig:
    """Two seconds a step by the operator's figure, and a cent a second on the one machine with a price."""
    return ProviderConfig(name="replicate", seconds_per_step=2, cost_per_second={"h100": 0.01})


@pytest.fixture
def ran(make_job: MakeJob) -> Callable[..., Job]:
    """A run of `config` that completed: `steps` in so many seconds. Told by its provider as by any other."""

    def run(
        config: dict[str, Any] = FLUX,
        datasets: Sequence[Any] = (),
        *,
        steps: int = 1000,
        seconds: float = 600,
        **fields: Any,
    ) -> Job:
        end = timezone.now() - timedelta(seconds=1)
        start = end - timedelta(seconds=seconds)
        job = make_job(
            provider="replicate",
            hardware_profile="h100",
            config=config,
            dataloader_config=list(datasets),
            status=JobStatus.RUNNING,
            started_at=start,
        )
        defaults: dict[str, Any] = {
            "status": JobStatus.COMPLETED,
            "started_at": start,
            "completed_at": end,
            "progress": read_progress(BAR.format(step=steps, total=steps)),
        }
        lifecycle.apply_snapshot(job, Snapshot(f"x-{job.pk}", **{**defaults, **fields}), source=Source.POLL)
        return job

    return run
