"""Make the pictures of the README anew: `make pictures`. Three organizations, their people, and their jobs of 60 days.

All data come about by the product's own verbs, under a clock that is set back; one training runs for real.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.browser import chromium, context_of
from bench.stack import Stack, running_stack
from bench.storm import pause_queue

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
DAYS, JOBS = 60, 90
TEAMS = {
    "studio": {"ida": "admin", "noor": "lead", "alice": "researcher", "tomas": "researcher"},
    "lab": {"mei": "admin", "samir": "researcher"},
    "shop": {"greta": "admin", "luca": "researcher"},
}
NAMES = ("sdxl-product-shots", "flux-lora-kitchen", "flux-lora-portraits", "sd3-watercolour", "kolors-posters")
#: Hardware at Replicate, with what an hour of it costs about, in US dollars.
HARDWARE = {"gpu-t4": 0.81, "gpu-l40s": 3.51, "gpu-a100-large": 5.04}
OUT_OF_MEMORY = (
    "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB"
)
REAL = {"max_train_steps": 600, "learning_rate": 0.0001, "lora_rank": 32, "validation_steps": 150, "seed": 7}
#: Of the training on two cores, which others may use too.
PATIENCE_SECONDS = 900.0


@contextmanager
def clock_at(at: datetime) -> Iterator[None]:
    """Set the clock of this process to `at`, for rows and for the times in their ids."""
    from ulid import ULID

    with (
        patch("django.utils.timezone.now", lambda: at),
        patch("jobs.identifiers.ULID", side_effect=lambda: ULID.from_datetime(at)) as ids,
    ):
        ids.from_datetime = ULID.from_datetime
        yield


def make_people(teams: Iterable[str]) -> dict[str, Any]:
    """Make these organizations with their people, by name."""
    from django.contrib.auth.models import User

    from cloudtrain_site.audit.recording import OPERATOR
    from jobs.organizations.endings import create_organization
    from jobs.organizations.members import add_member
    from jobs.roles import Role

    people = {}
    for team in teams:
        organization = create_organization(team, by=OPERATOR)
        for name, role in TEAMS[team].items():
            people[name] = User.objects.create_user(name, f"{name}@example.org")
            add_member(organization, people[name], Role(role), by=OPERATOR)
    return people


def submit(user: Any, name: str, provider: str, hardware: str, config: dict[str, Any]) -> Any:
    from approvals import intake
    from cloudtrain_site.states import Source
    from jobs.configs.submission import Submission
    from jobs.models import Membership

    team = Membership.objects.get(user=user).organization
    submission = Submission(provider=provider, config=config, config_name=name, hardware_profile=hardware)
    return intake.submit(intake.SubmissionRequest(user, team, submission, Source.API)).job


def log_of(chance: random.Random, rate: float, failed: bool) -> str:
    """The log of a training: the loss falls the faster, the higher the rate, and the highest makes it noisy."""
    steps, low = range(10, (430 if failed else 1000) + 1, 10), chance.uniform(0.06, 0.14)
    lines = [
        f"step {step}/1000 loss: {low + 0.5 * math.exp(-step * rate * 60) + chance.uniform(-1, 1) * rate * 60:.4f} "
        f"lr: {rate * min(1, step / 100):.6f}"
        for step in steps
    ]
    return "\n".join([*lines, *([OUT_OF_MEMORY] if failed else [])]) + "\n"


def live(chance: random.Random, people: list[Any], at: datetime) -> None:
    """Let a job of the past be submitted, run and end."""
    from cloudtrain_site.states import Actor, Source
    from jobs import lifecycle, logs
    from jobs.curves.kept import keep_curves
    from jobs.models import Job, KeptCurves
    from jobs.providers.base import Snapshot
    from jobs.statuses import JobStatus

    hardware, price = chance.choice(list(HARDWARE.items()))
    rate, hours = chance.choice((4e-5, 1e-4, 3e-4)), chance.uniform(0.3, 3.5)
    config = {"model_family": "sdxl", "max_train_steps": 1000, "learning_rate": rate, "lora_rank": 16}
    with clock_at(at):
        job = submit(chance.choice(people), chance.choice(NAMES), "replicate", hardware, config)
    Job.objects.filter(pk=job.pk).update(created_at=at)  # the column's default has the real clock
    if job.status != JobStatus.PENDING or not _is_free(job):
        return
    started = at + timedelta(minutes=chance.uniform(1, 20))
    with clock_at(started):
        provider = Actor(name="replicate")
        lifecycle.begin_submission(job)
        handle = f"r-{job.pk}"
        lifecycle.mark_submitted(job, Snapshot(external_id=handle, status=JobStatus.QUEUED), actor=provider)
        lifecycle.apply_snapshot(job, Snapshot(handle, JobStatus.RUNNING, started_at=started), source=Source.POLL)
    ended = started + timedelta(hours=hours)
    failed = chance.random() < 0.15
    with clock_at(ended):
        end = Snapshot(
            handle,
            JobStatus.FAILED if failed else JobStatus.COMPLETED,
            completed_at=ended,
            cost_usd=Decimal(str(round(price * hours, 2))),
            error_message=OUT_OF_MEMORY if failed else None,
            log=log_of(chance, rate, failed),
        )
        lifecycle.apply_snapshot(job, end, source=Source.POLL)
        job.refresh_from_db()
        logs.store_log(job, end)
    KeptCurves.objects.create(job=job, requested_at=ended)
    keep_curves(job)


def _is_free(job: Any) -> bool:
    """Whether no rule holds the job."""
    from approvals.models import ApprovalRequest

    return not ApprovalRequest.objects.filter(job=job, is_decided=False).exists()


def seed(teams: Iterable[str] = TEAMS) -> Any:
    """Make it all. Returns the job that runs for real."""
    from django.utils import timezone

    from approvals.models import ApprovalRule
    from jobs.models import ProviderConfig

    chance = random.Random(20)
    ProviderConfig.objects.update_or_create(name="replicate", defaults={"enabled": True})
    ApprovalRule.objects.all().delete()
    people = make_people(teams)
    pause_queue()  # else jobs of the past would start, and fail without a token of Replicate's
    now = timezone.now()
    ages = sorted((chance.uniform(0.2, DAYS) for _ in range(JOBS)), reverse=True)
    for age in ages:
        live(chance, list(people.values()), now - timedelta(days=age))
    pause_queue(paused=False)
    ApprovalRule.objects.create(name="large hardware", cost_exceeds=Decimal("5"))
    config = {"model_family": "flux", "max_train_steps": 4000, "learning_rate": 5e-5}
    submit(people["alice"], "flux-full-finetune", "replicate", "gpu-a100-large", config)
    submit(people["tomas"], "flux-lora-kitchen", "local", "cpu", REAL | {"max_train_steps": 150})
    return submit(people["alice"], "flux-lora-portraits", "local", "cpu", REAL)


def take(stack: Stack, job: Any) -> None:
    """Take the pictures as a lead sees the site."""
    pages = {
        "jobs": "/",
        "job": f"/jobs/{job.pk}",
        "new-job": f"/jobs/new?parent={job.pk}",
        "results": f"/jobs/{job.pk}/results",
    }
    with chromium() as browser:
        window = {"width": 1280, "height": 900}
        page = context_of(browser, stack, "noor", viewport=window, timezone_id="Europe/Berlin").new_page()
        for name, address in pages.items():
            page.goto(address)
            page.wait_for_timeout(2000)
            page.screenshot(path=IMAGES / f"{name}.png", full_page=name not in ("jobs", "job"))
            shrink(IMAGES / f"{name}.png")


def shrink(path: Path) -> None:
    """Store the picture with 256 colours, a third of its size."""
    from PIL import Image

    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def progress_of(job: Any) -> float:
    job.refresh_from_db()
    return job.progress or 0.0


def main() -> None:
    with running_stack() as stack:
        job = seed()
        stack.until(lambda: progress_of(job) > 76, PATIENCE_SECONDS)  # with three of its four validations
        take(stack, job)
        print(f"The pictures are in {IMAGES}.")


if __name__ == "__main__":
    main()
