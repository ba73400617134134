"""The notices of a job's end: their texts, and the call of its `webhook_url`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.notices.outbox import call_back, fill_in
from cloudtrain_site.wording.values import duration
from jobs.configs.secrets import unsealed_columns
from jobs.failures.cause import NO_CAUSE
from jobs.models import Job
from jobs.queries import reasons_to_stop
from jobs.statuses import JobStatus


def prepare(notice: Notice) -> bool:
    """Fill in the notice of a job's end, when it is sent: the last figures of a job come shortly after its end."""
    job = Job.objects.select_related("organization").filter(pk=notice.job_id).first()
    if job is None:
        return False
    fill_in(notice, subject=_subject(job, notice), text=_text(job, notice), data=_data(job))
    if notice.actor_id is None:
        notice.actor_id = _canceller(job)
    if job.webhook_url and job.submitted_by_id is not None:
        try:
            call_back(notice, unsealed_columns(job, ("webhook_url",))["webhook_url"], job.submitted_by_id)
        except SecretsLostError:
            notice.text += "\nIts webhook_url can't be called: SECRET_KEY was changed since it was submitted."
    return True


def _subject(job: Job, notice: Notice) -> str:
    if job.status == JobStatus.FAILED:
        return f"{job.config_name} failed: {job.cause}" if job.cause else f"{job.config_name} failed"
    if job.status == JobStatus.CANCELLED:
        return f"{job.config_name} was cancelled by {job.cancel_requested_by or notice.data.get('by', 'somebody')}"
    return f"{job.config_name} completed"


def _ran(job: Job) -> str:
    if job.started_at is None:
        return "The job never started."
    for_long = "" if job.duration_ms is None else f" for {duration(job.duration_ms / 1000)}"
    return f"It ran{for_long} on {job.provider}{job.cost_text}."


def _text(job: Job, notice: Notice) -> str:
    parts = [_ran(job)]
    if job.status == JobStatus.FAILED:
        parts.insert(0, f"The cause:\n    {job.cause}" if job.cause else NO_CAUSE)
        parts.append("See its page for the log, or to submit it again.")
    elif job.status == JobStatus.CANCELLED:
        if reason := notice.data.get("reason") or reasons_to_stop([job.pk]).get(job.pk):
            parts.insert(0, f"The reason: {reason}")
        parts.append("You can submit it again from its page.")
    else:
        parts.append("See its page for the log and the results.")
    return "\n".join(parts)


def _data(job: Job) -> dict[str, Any]:
    """Return the fields for webhooks, under the names that the API has for them."""
    return {
        "status": job.status,
        "config_name": job.config_name,
        "organization": None if job.organization is None else job.organization.name,
        "provider": job.provider,
        "hardware_profile": job.hardware_profile,
        "duration_seconds": None if job.duration_ms is None else job.duration_ms / 1000,
        "cost_usd": None if job.known_cost is None else float(job.known_cost),
        "error_line": job.cause or None,
    }


def _canceller(job: Job) -> int | None:
    """Return the id of the user whose request the provider has confirmed now."""
    if job.status != JobStatus.CANCELLED or not job.cancel_requested_by:
        return None
    return User.objects.filter(username=job.cancel_requested_by).values_list("pk", flat=True).first()
