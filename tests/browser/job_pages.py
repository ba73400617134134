"""What the tests of a job's page share: a job that trains on this machine, with a log as trainers write it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page

from approvals.intake import Outcome
from jobs.models import Job
from tests.browser.conftest import is_live, start

Submit = Callable[..., Outcome]
Training = Callable[..., tuple[Job, Path]]
ESC = "\x1b"
#: Wider than a phone, with nowhere to break.
BAR = f"Steps: 80%|{'#' * 60}| 400/500 [08:00<02:00, 1.2s/it, loss=0.1, lr=1e-4]"
#: What trainers write: a coloured header, a bar that is drawn over itself, figures.
LOG = (
    f"{ESC}[1;32mINFO{ESC}[0m loading the dataset <script>alert(1)</script> \x00\x07 end\r\n"
    + "".join(f"\rPreparing: {percent}%" for percent in range(0, 101, 5))
    + "\n"
    + "".join(
        f"step {step}/500 loss: {0.9 * math.exp(-step / 160) + 0.05 + 0.02 * math.sin(step):.4f} "
        f"lr: {1e-4 * min(1, step / 100):.6f}\n"
        for step in range(1, 401)
    )
    + f"{ESC}[33mWARNING{ESC}[0m the learning rate is high: שלום 漢字 🚂\n"
)


@pytest.fixture
def training(settings: Any, tmp_path: Path, submit: Submit, alice: User) -> Callable[..., tuple[Job, Path]]:
    """A job that trains on this machine, and the log that it writes."""
    settings.DATA_DIR = tmp_path

    def make(name: str = "flux-portraits", log: str = LOG, **fields: Any) -> tuple[Job, Path]:
        job = start(submit(alice, name, **fields).job)
        now = timezone.now()
        Job.objects.filter(pk=job.pk).update(
            external_id=job.pk, started_at=now - timedelta(minutes=8), progress=80, step=400, total_steps=500,
            stage="Training", progress_told_at=now, last_log=BAR,
        )  # fmt: skip
        job.refresh_from_db()
        path = tmp_path / "jobs" / job.pk / "train.log"
        path.parent.mkdir(parents=True)
        path.write_text(log)
        return job, path

    return make


def write_more(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def opened(page: Page, job: Job) -> Page:
    """The page of `job`, live."""
    page.goto(f"/jobs/{job.pk}")
    return is_live(page)


def view(page: Page) -> Any:
    return page.locator("#log-view")
