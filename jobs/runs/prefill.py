"""The submission of a job as the form of a new one begins with it: with another name, and without its secrets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cloudtrain_site.encryption import masked_places
from jobs.configs.secrets import CONFIG_COLUMNS, SECRET_COLUMNS
from jobs.models import Job
from jobs.permissions import AnyUser, can_change, can_submit
from jobs.runs.resuming import checkpoints_of, without_checkpoint
from jobs.runs.tree import next_name
from jobs.tags.tagging import tags_by_job

CARRIED = "“***” is a masked secret of {}, which is used again. Replace it to use another one."
NOT_CARRIED = "“***” is a masked secret of {}, which you may not use. Replace it with your own."
DATASET_GONE = "The uploaded dataset of {} has been removed. Upload it again."


def submission_of(job: Job, user: AnyUser) -> dict[str, Any]:
    """Return a submission body, secrets masked, with which the job's next run begins.

    The address to call is that of who submitted it: others begin without one.
    """
    name = next_name(job)
    tracker = job.tracker_run_name
    return {
        "parent": job.pk,
        # The checkpoint that it went on from is none of the next run's.
        "config": without_checkpoint(job.config) if job.checkpoint else job.config,
        "dataloader_config": job.dataloader_config,
        "config_name": name,
        "hardware_profile": job.hardware_profile,
        "organization": job.organization.name if job.organization else "",
        "tracker_run_name": name if tracker and tracker == job.config_name else tracker,
        "webhook_url": job.webhook_url if can_change(user, job) else "",
        "dataset": (job.dataset_id or "") if job.dataset is None or job.dataset.removed_at is None else "",
        "tags": list(tags_by_job([job]).get(job.pk, ())),
        "max_cost_usd": None if job.max_cost_usd is None else float(job.max_cost_usd),
        "fuse_action": job.fuse_action,
    }


def remarks_on(job: Job, user: AnyUser) -> list[str]:
    """Return what the form says of what is not, or not simply, taken over."""
    remarks = []
    columns, remark = (SECRET_COLUMNS, CARRIED) if can_change(user, job) else (CONFIG_COLUMNS, NOT_CARRIED)
    if job.sealed and masked_places({column: getattr(job, column) for column in columns}):
        remarks.append(remark.format(job.config_name))
    if job.dataset is not None and job.dataset.removed_at is not None:
        remarks.append(DATASET_GONE.format(job.config_name))
    return remarks


def may_run_again(job: Job, user: AnyUser) -> bool:
    """Whether `user` may submit a run with changes: in the job's organization, while that is open."""
    return job.organization is not None and not job.organization.is_closed and can_submit(user, job.organization)


def next_run_of(job: Job, user: AnyUser) -> dict[str, Any]:
    """Return all that a run with changes begins with, as the API renders it."""
    found = checkpoints_of(job)
    return {
        "provider": job.provider,
        "submission": submission_of(job, user),
        "remarks": remarks_on(job, user),
        "checkpoints": [asdict(one) for one in found.items],
        "checkpoints_reason": found.reason,
    }
