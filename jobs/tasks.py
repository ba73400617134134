"""What the background loops and django-q2 call."""

from __future__ import annotations

import logging
import time

from django_q.tasks import async_task

from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.states import Source
from jobs import maintenance
from jobs.models import Job, ProviderConfig
from jobs.providers.local.watcher import changed_jobs, ended_jobs
from jobs.statuses import ACTIVE
from jobs.sync import refresh
from jobs.webhooks import apply

logger = logging.getLogger("simpletuner.cloud.background")

_seen: dict[str, object] = {}
_looked_in: dict[str, int] = {}


def polling_wanted() -> bool:
    """Whether the poller runs: as the configuration says, or else exactly while no webhook address is set."""
    explicit = get_enterprise_config().job_polling_explicit
    if explicit is not None:
        return explicit
    return not ProviderConfig.objects.filter(enabled=True).exclude(webhook_url="").exists()


@loop("job status polling", failure_message="Error in job polling")
def poll_jobs() -> dict[str, int]:
    """Ask the providers about every active job."""
    started = time.monotonic()
    outcome = refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    counts = {"refreshed": outcome.refreshed, "failed": outcome.failed}
    duration_ms = round((time.monotonic() - started) * 1000, 1)
    logger.debug("Synced %d active jobs", outcome.refreshed, extra={**counts, "duration_ms": duration_ms})
    return counts


@loop("job upkeep")
def keep_up() -> dict[str, int]:
    """What has to be done whether or not the poller runs."""
    return maintenance.run()


def capture_logs() -> int:
    """Fetch the logs of jobs that have just ended, before their provider deletes them."""
    count = refresh.capture_logs(source=Source.POLL)
    if count >= refresh.MAX_LOGS_PER_CYCLE:
        # Of many that ended together, one wish may have come for all.
        async_task("jobs.tasks.capture_logs")
    return count


def apply_webhooks() -> int:
    """Apply the deliveries that came too many at once to be applied on the spot."""
    return apply.apply_leftovers()


def watch_local_trainings() -> None:
    """Refresh the jobs whose training on this machine has something new. Called five times a second.

    Once a second it looks at everything; in between only for those that have ended, whose slot somebody waits for.
    """
    second = int(time.time())
    changed = ended_jobs(_seen) if _looked_in.get("second") == second else changed_jobs(_seen)
    _looked_in["second"] = second
    if changed:
        refresh.refresh(list(Job.objects.filter(pk__in=changed, status__in=ACTIVE)), source=Source.POLL)


def clear_away(job_id: str) -> bool:
    """Remove the files of a job that was deleted."""
    job = Job.objects.filter(pk=job_id, deleted_at__isnull=False).select_related("dataset").first()
    return job is not None and maintenance.remove_files(job)


def cancel_at_provider(job_id: str) -> bool:
    """Ask the job's provider to stop it, and then whether it has: what it answered is not believed."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None or not refresh.cancel_at_providers([job]):
        return False
    refresh.refresh([job], source=Source.POLL)
    return True
