"""What the tests of the jobs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from examples.fake_replicate import FakeReplicate, Prediction, Script
from jobs.models import Job, ProviderConfig
from jobs.outputs.store import folder_of
from jobs.providers.replicate import client
from jobs.providers.replicate import provider as replicate_provider
from jobs.statuses import JobStatus
from queueing import claims
from tests.jobs.pictures import output_of

#: Stays as it is until the test says otherwise.
STILL = Script(start=3600)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeReplicate]:
    """A Replicate whose predictions move by `update` alone, and an environment that leads there."""
    with FakeReplicate.start(script=STILL) as server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
        monkeypatch.setattr(replicate_provider, "_versions", {})
        monkeypatch.setattr(claims, "_paused_until", {})
        monkeypatch.setattr(client, "FIRST_PAUSE_SECONDS", 0.01)  # else a question that is asked in vain takes a second
        yield server


@pytest.fixture
def replicate_config(db: None) -> ProviderConfig:
    """The operator's settings for Replicate: an H100 for a cent a second."""
    config, _ = ProviderConfig.objects.update_or_create(
        name="replicate",
        defaults={"default_hardware": "h100", "cost_per_second": {"h100": 0.01, "l40s": 0.001}},
    )
    return config


@pytest.fixture
def at_replicate(fake: FakeReplicate, make_job: Callable[..., Job]) -> Callable[..., Job]:
    """A job that Replicate has: queued, made now, unless the test says otherwise."""

    def make(**fields: Any) -> Job:
        profile = fields.get("hardware_profile", "h100")
        prediction = Prediction(model=f"simpletuner/advanced-trainer-{profile}", version="v1", input={})
        fake.call(fake.predictions.add, prediction)
        return make_job(
            **{
                "provider": "replicate",
                "external_id": prediction.id,
                "status": JobStatus.QUEUED,
                "hardware_profile": profile,
                "submission_started_at": timezone.now() - timedelta(seconds=1),
                **fields,
            }
        )

    return make


@pytest.fixture
def trained(make_job: Callable[..., Job], settings: Any, tmp_path: Path) -> Callable[..., Job]:
    """Make a job of this machine whose training wrote `files`, by path; it has ended unless the test says otherwise."""
    settings.DATA_DIR = tmp_path

    def make(files: dict[str, bytes] | None = None, **fields: Any) -> Job:
        job = make_job(**{"provider": "local", "status": JobStatus.COMPLETED, **fields})
        job.external_id = job.pk
        job.save()
        output = output_of(job, tmp_path)
        output.mkdir(parents=True)
        for path, content in (files or {}).items():
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            (output / path).write_bytes(content)
        assert folder_of(job)
        return job

    return make
