"""Trainings that carry a job's marker, and that it has no use for: it ended without them, or has another one.

Nobody would follow them, and they cost money. So each becomes a job of its own, in the organization of the one that it
was made for, and is cancelled as any other: asked to stop until its provider says that it has, with what it cost.
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
from jobs.estimates import priced
from jobs.job_context import job_log_context
from jobs.models import Job, ProviderConfig
from jobs.providers.base import DiscoveredTraining, Snapshot

logger = logging.getLogger("simpletuner.cloud.jobs")

#: By so much a provider's clock may differ from ours.
SLACK = timedelta(minutes=2)


def is_orphan(owner: Job, snapshot: Snapshot, made_at: datetime | None = None) -> bool:
    """Whether a training with the marker of `owner` is none that it has, or may still get. Once true, it stays so.

    One that was made before or after the job was being submitted isn't ours: somebody has copied our input.
    """
    if owner.external_id == snapshot.external_id or (owner.external_id is None and not owner.is_terminal):
        return False
    started, ended = owner.submission_started_at, owner.queued_at if owner.external_id else owner.completed_at
    if made_at is None or started is None or ended is None:
        return True
    return started - SLACK <= made_at <= ended + SLACK


def adopt_orphan(owner: Job, snapshot: Snapshot, *, source: str, made_at: datetime | None = None) -> Job | None:
    """Make a stray of `owner` a job, and have it stopped unless it has ended. None: somebody else has just done so."""
    orphan = None
    config = ProviderConfig.objects.filter(pk=owner.provider).first()
    snapshot = replace(snapshot, hardware=snapshot.hardware or owner.hardware_profile)
    snapshot, cost = priced(snapshot, config)
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
                orphan = lifecycle.adopt_discovered(
                    training,
                    provider=owner.provider,
                    organization=owner.organization,
                    cost=cost,
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
    """In the histories of both, and to the provider after the commit."""
    why = f"it has {owner.external_id}" if owner.external_id else f"it is {owner.status}"
    if orphan.is_terminal:
        what = f"that is {orphan.status}{orphan.cost_in_words}"
    else:
        what = "asked to stop"
        reason = f"job {owner.pk} has no use for it: {why}"
        lifecycle.request_cancel(orphan, actor=SYSTEM, source=source, reason=reason)
    reason_text = f"{orphan.external_id} of this job turned up, though {why}: {what} (job {orphan.pk})"
    owner.note(Actor(name=owner.provider), source, reason_text)
