"""Orphans: trainings with our marker whose job has ended or has another training.

Nobody would follow them, and they cost money. So each becomes a job of its own, in the organization of the job that it
was made for, and is cancelled like any other: its provider is asked to stop it until it says that it has, and what it
cost.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import IntegrityError
from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import SYSTEM, Actor
from jobs import lifecycle
from jobs.costs.estimates import priced
from jobs.job_context import job_log_context
from jobs.models import Job, ProviderConfig
from jobs.providers.base import DiscoveredTraining, Snapshot
from jobs.sync.adoption import adopt_discovered

logger = logging.getLogger("simpletuner.cloud.jobs")

#: The difference between a provider's clock and ours that is tolerated.
SLACK = timedelta(minutes=2)


def is_orphan(owner: Job, snapshot: Snapshot, made_at: datetime | None = None) -> bool:
    """Whether a training with the marker of `owner` is not its own, and can't become it. Once true, it stays so.

    A training that was made before or after the job's submission isn't ours: somebody has copied our input.
    """
    if owner.external_id == snapshot.external_id or (owner.external_id is None and not owner.is_terminal):
        return False
    started, ended = owner.submission_started_at, owner.queued_at if owner.external_id else owner.completed_at
    if made_at is None or started is None or ended is None:
        return True
    return started - SLACK <= made_at <= ended + SLACK


def adopt_orphan(owner: Job, snapshot: Snapshot, *, source: str, made_at: datetime | None = None) -> Job | None:
    """Make an orphan of `owner` a job, and have it stopped unless it has ended. None: another process did so first."""
    orphan = None
    config = ProviderConfig.of(owner.provider)
    snapshot = replace(snapshot, hardware=snapshot.hardware or owner.hardware_profile)
    snapshot = priced(snapshot, config)
    training = DiscoveredTraining(
        snapshot=replace(snapshot, metadata={**snapshot.metadata, "stray_of": owner.pk}),
        created_at=made_at or timezone.now(),
        name=owner.config_name,
        config=owner.config,
        dataloader_config=owner.dataloader_config,
        marker=owner.submission_marker,
    )
    with job_log_context(owner):
        try:
            with unit_of_work():
                [orphan] = adopt_discovered(
                    [training],
                    provider=owner.provider,
                    organization=owner.organization,
                    source=source,
                    sealed=owner.sealed,
                )
                _record_and_stop(owner, orphan, source)
        except IntegrityError:
            return None
        extra = {"external_id": orphan.external_id, "stray": orphan.pk, "status": orphan.status}
        logger.warning("A training turned up that its job has no use for", extra=extra)
    return orphan


def _record_and_stop(owner: Job, orphan: Job, source: str) -> None:
    """Record it in the histories of both jobs, and ask its provider to stop it after the commit."""
    condition = f"it has {owner.external_id}" if owner.external_id else f"it is {owner.status}"
    if orphan.is_terminal:
        outcome = f"that is {orphan.status}{orphan.cost_text}"
    else:
        outcome = "asked to stop"
        reason = f"job {owner.pk} doesn't need it: {condition}"
        lifecycle.request_cancel(orphan, actor=SYSTEM, source=source, reason=reason)
    reason_text = f"{orphan.external_id} of this job was found, although {condition}: {outcome} (job {orphan.pk})"
    owner.record_note(Actor(name=owner.provider), source, reason_text)
