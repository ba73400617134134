"""News for pages that follow the event stream: fifty jobs that go through their lives, or wait for an approval."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LISTED = 50
#: A job tells of its progress once a second at most.
PAUSE_SECONDS = 1.1


@dataclass
class Life:
    """A job and what is still to happen to it."""

    job: Any
    steps: list[Callable[[Life], None]]
    updated_at: float = field(default=0.0)


def pause_queue(paused: bool = True) -> None:
    """Pause the queue, so that no job starts by itself; with `paused=False` resume it."""
    from cloudtrain_site.states import SYSTEM, Source
    from queueing import operations

    operations.set_paused(paused, operations.ChangedBy(SYSTEM, Source.API))


def make_lives(chance: random.Random) -> list[Life]:
    """Fifty new jobs, in the queue: the newest of all, so that the first page lists them and no others."""
    from django.contrib.auth.models import User

    from cloudtrain_site.states import Actor, Source
    from jobs import lifecycle
    from jobs.configs.submission import Submission
    from jobs.models import Organization
    from jobs.roles import Role
    from queueing import claims

    user, team = User.objects.get(username="rachel"), Organization.objects.get(name="acme")
    lives = []
    for number in range(LISTED):
        submission = Submission("replicate", {"max_train_steps": 1000}, f"storm-{number}", "gpu-t4")
        job = lifecycle.create(submission, organization=team, user=user, source=Source.API, estimated_cost=None)
        claims.enqueue(job, role=Role.RESEARCHER, held=False, actor=Actor.of(user), source=Source.API)
        lives.append(Life(job, steps_of(chance)))
    return lives


def steps_of(chance: random.Random) -> list[Callable[[Life], None]]:
    """The steps of a life: four changes of status and four reports of progress."""
    from cloudtrain_site.states import Actor, Source, change_state
    from jobs import lifecycle
    from jobs.providers.base import Snapshot
    from jobs.providers.progress import Progress
    from jobs.statuses import JobStatus

    provider = Actor(name="replicate")

    def upload(life: Life) -> None:
        assert lifecycle.begin_submission(life.job)
        assert change_state(life.job, JobStatus.UPLOADING, actor=provider, source=Source.DISPATCHER, reason="")

    def accept(life: Life) -> None:
        snapshot = Snapshot(external_id=f"storm-{life.job.pk}", status=JobStatus.QUEUED)
        assert lifecycle.mark_submitted(life.job, snapshot, actor=provider)

    def report(status: JobStatus, percent: float | None = None, **fields: Any) -> Callable[[Life], None]:
        progress = percent and Progress(stage="Training", percent=percent, last_log=f"step {percent:.0f}")

        def apply(life: Life) -> None:
            snapshot = Snapshot(external_id=life.job.external_id, status=status, progress=progress or None, **fields)
            lifecycle.apply_snapshot(life.job, snapshot, source=Source.POLL)

        return apply

    end = (
        report(JobStatus.COMPLETED)
        if chance.random() < 0.8
        else report(JobStatus.FAILED, error_message="CUDA out of memory. Tried to allocate 2.5 GiB.")
    )
    training = [report(JobStatus.RUNNING, percent) for percent in (20.5, 41, 61.5, 82)]
    return [upload, accept, report(JobStatus.RUNNING), *training, end]


def make_requests(_: random.Random) -> list[Life]:
    """Fifty jobs that wait for an approval. Each is rejected and submitted anew, again and again."""
    from django.contrib.auth.models import User

    from approvals import intake
    from approvals.decisions import reject
    from approvals.models import ApprovalRule
    from cloudtrain_site.states import Source
    from jobs.configs.submission import Submission
    from jobs.models import Organization

    rachel, lea = (User.objects.get(username=name) for name in ("rachel", "lea"))
    acme = Organization.objects.get(name="acme")
    ApprovalRule.objects.get_or_create(name="storm", organization=acme, config_name="held-*")
    submission = Submission("replicate", {"max_train_steps": 1000, "learning_rate": 1e-4}, "held-flux", "gpu-t4")

    def submit(life: Life) -> None:
        request = intake.SubmissionRequest(rachel, acme, submission, Source.API)
        life.job = intake.submit(request).approval

    def refuse(life: Life) -> None:
        assert reject(life.job, user=lea, source=Source.API, notes="too dear")

    lives = [Life(None, [refuse, submit] * 10) for _ in range(LISTED)]
    for life in lives:
        submit(life)
    return lives


def storm(lives: list[Life], seconds: float, rate: float, chance: random.Random) -> float:
    """Let one event after the other happen, `rate` a second. Returns for how many seconds."""
    began = time.monotonic()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        now = time.monotonic()
        waiting = [life for life in lives if life.steps and life.updated_at < now - PAUSE_SECONDS]
        if not waiting:
            break
        # Lives with many steps left mostly go first: a single long one at the end would have the storm to itself.
        life = max(waiting, key=lambda one: len(one.steps) + chance.uniform(0, 4))
        life.steps.pop(0)(life)
        life.updated_at = now
    return time.monotonic() - began
