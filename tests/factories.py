"""Rows for the tests: sensible defaults, and what the test says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.models import SiteProcess
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from jobs.snapshot_fields import end_fields
from jobs.statuses import TERMINAL


def make_user(name: str, organization: Organization | None = None, role: str = Role.RESEARCHER) -> User:
    """An active user, a member of `organization` when there is one."""
    user = User.objects.create_user(name, f"{name}@example.org", "unused-password")
    if organization is not None:
        Membership.objects.create(user=user, organization=organization, role=role)
    return user


def make_job(**fields: Any) -> Job:
    """A job, written straight to the table: for tests of what comes after its submission."""
    defaults: dict[str, Any] = {
        "provider": "local",
        "config_name": "flux-lora",
        "config": {"max_train_steps": 10, "learning_rate": 1e-4},
        "correlation_id": "test-correlation",
        "hardware_profile": "cpu",
    }
    if fields.get("status") in TERMINAL:
        defaults.update(end_fields(fields.get("started_at"), fields.get("completed_at") or timezone.now()))
    return Job.objects.create(**{**defaults, **fields})


def make_process(
    machine: str = "one", role: str = "web", *, silent_for: timedelta = timedelta(), **fields: Any
) -> SiteProcess:
    """A web or background process that was started an hour ago."""
    now = timezone.now()
    defaults = {
        "id": f"{machine}-{role}-{SiteProcess.objects.count()}",
        "version": "1.2.0",
        "code": "aaa",
        "pid": 7,
        "started_at": now - timedelta(hours=1),
        "seen_at": now - silent_for,
        "clock_offset_seconds": 0.0,
    }
    return SiteProcess.objects.create(machine=machine, role=role, **{**defaults, **fields})
