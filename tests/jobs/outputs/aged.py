"""The files of a run, and how it becomes an old one."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobs.models import Job
from jobs.outputs.store import folder_of
from tests.jobs.pictures import png

FILES = {
    "checkpoint-10/model.safetensors": b"1" * 10,
    "checkpoint-20/model.safetensors": b"2" * 10,
    "checkpoint-30/model.safetensors": b"3" * 10,
    "lora-step00000010.safetensors": b"4" * 10,
    "validation_images/step_10_cat.png": png(),
    "model.safetensors": b"5" * 10,
}


def days_ago(days: float) -> dict[str, Any]:
    at = timezone.now() - timedelta(days=days)
    return {"created_at": at, "started_at": at, "completed_at": at}


def age(job: Job) -> None:
    """Make the files as old as the job, so that nothing seems to write them still."""
    assert job.completed_at is not None
    at = job.completed_at.timestamp()
    folder = folder_of(job)
    assert folder is not None
    for path in folder.root.rglob("*"):
        os.utime(path, (at, at), follow_symlinks=False)
