"""A healthy site for the tests of the doctor, whose checks run in the test's own thread."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from django.utils.crypto import get_random_string

from approvals.models import ApprovalRule
from cloudtrain_site import extensions
from cloudtrain_site.doctor import public, runs
from cloudtrain_site.doctor.findings import Status
from cloudtrain_site.doctor.runs import Examination
from cloudtrain_site.extensions import DoctorCheck, doctor_checks
from cloudtrain_site.models import Loop, SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import MACHINE, key_digest
from jobs.models import ProviderConfig
from tests import factories


@pytest.fixture
def healthy(acme: Any, alice: Any, bob: Any, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site on this machine that runs: rows as its processes write them, a data folder, and no public address."""
    folder = tmp_path / "data"
    folder.mkdir()
    settings.DATA_DIR = folder
    settings.SECRET_KEY = get_random_string(50)
    (folder / "secret_key").touch(mode=0o600)
    for name in ("REPLICATE_API_TOKEN", "SIMPLETUNER_LOG_FILE"):
        monkeypatch.delenv(name, raising=False)
    process("web", pid=os.getpid())
    process("background")
    now = timezone.now()
    for name, spec in extensions.loops.items():
        seconds = spec.seconds()
        Loop.objects.create(
            name=name,
            interval_seconds=seconds,
            wanted_since=now - timedelta(days=1),
            last_started_at=now,
            last_outcome="ok",
        )
    ProviderConfig.objects.create(name="local", cost_per_second={"cpu": 0})
    ProviderConfig.objects.create(name="replicate", cost_per_second={"h100": 0.0015}, prices_as_of=now.date())
    ApprovalRule.objects.create(name="first_job", first_job=True, exempt_roles=["lead", "admin"])
    ApprovalRule.objects.create(name="cost_exceeds", cost_exceeds=50)
    monkeypatch.setattr(runs, "_in_time", _here)
    monkeypatch.setattr(public.Visit, "connect", _unreachable)


def process(role: str, machine: str = MACHINE, **fields: Any) -> SiteProcess:
    """Make a process of this very code and key."""
    return factories.make_process(machine, role, **{"key_digest": key_digest(), **fields})


def _here(name: str, check: DoctorCheck) -> Examination:
    return runs.examine(name)


def _unreachable(visit: object) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def found() -> dict[str, tuple[Status, str]]:
    """Return what all checks together find wrong: by the check's name the worst, and all that it says."""
    return {
        one.name: (one.status, " ".join(f"{finding.message} [{finding.remedy}]" for finding in one.findings))
        for one in runs.examine_all(doctor_checks)
        if one.status in (Status.WARN, Status.BAD)
    }


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> None:
        raise error

    return fail


def raising_later(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def fail(*args: object) -> None:
        raise error

    return fail


def returning_later(value: Any) -> Callable[..., Awaitable[Any]]:
    async def answer(*args: object) -> Any:
        return value

    return answer
