"""The tasks that the background loops and django-q2 call."""

from __future__ import annotations

import logging
import time

from django_q.tasks import async_task

from cloudtrain_site.background_tasks.loops import loop
from cloudtrain_site.enterprise import get_enterprise_config
from cloudtrain_site.states import Source
from jobs import maintenance
from jobs.curves import kept
from jobs.fuses import watch
from jobs.job_context import job_log_context
from jobs.models import Job
from jobs.outputs import fetching, thumbnails
from jobs.providers import names
from jobs.providers.local.watcher import changed_jobs, ended_jobs
from jobs.providers.settings import names_with_webhooks
from jobs.statuses import ACTIVE
from jobs.sync import clusters, refresh
from jobs.webhooks import apply

logger = logging.getLogger("simpletuner.cloud.background")

_seen: dict[str, object] = {}
_last_full_check: dict[str, int] = {}


def polling_enabled() -> bool:
    """Whether the poller runs: as the configuration says, or else while a provider has no webhook address."""
    explicit = get_enterprise_config().job_polling_explicit
    # This machine's own trainings are watched, and don't have to be asked about.
    return bool(set(names()) - names_with_webhooks() - {"local"}) if explicit is None else explicit


@loop("job status polling", failure_message="Error in job polling")
def poll_jobs() -> dict[str, int]:
    """Ask for every active job, but for those that webhooks tell of, unless the configuration wants all of them."""
    started = time.monotonic()
    followed = set() if get_enterprise_config().job_polling_explicit else names_with_webhooks()
    outcome = refresh.refresh(refresh.active_jobs(without=followed), source=Source.POLL)
    counts = {"refreshed": outcome.refreshed, "failed": outcome.failed}
    duration_ms = round((time.monotonic() - started) * 1000, 1)
    logger.debug("Synced %d active jobs", outcome.refreshed, extra={**counts, "duration_ms": duration_ms})
    return counts


@loop("job upkeep")
def keep_up() -> dict[str, int]:
    """Do the maintenance that doesn't depend on the poller."""
    return maintenance.run()


@loop("fuses")
def check_fuses() -> dict[str, int]:
    """Warn of jobs that have nearly cost what they may, and cancel them before they cost more."""
    return watch.check_fuses()


def has_clusters() -> bool:
    """Whether some provider trains on a cluster."""
    return bool(clusters.cluster_names())


@loop("cluster looks")
def look_at_clusters() -> dict[str, int]:
    """Look at the nodes of every cluster. Not part of another loop: one that hangs would delay cancellations."""
    return clusters.look_where_due()


def capture_logs() -> int:
    """Fetch the logs of jobs that have just ended, before their provider deletes them."""
    count = refresh.capture_logs(source=Source.POLL)
    if count >= refresh.MAX_LOGS_PER_CYCLE:
        # Many jobs that ended together may have enqueued only one task.
        async_task("jobs.tasks.capture_logs")
    return count


def apply_webhooks() -> int:
    """Apply the deliveries that arrived too fast to be applied at once."""
    return apply.apply_leftovers()


def watch_local_trainings() -> None:
    """Refresh the jobs whose training on this machine has changed. Called five times a second.

    Once a second it checks everything; in between only for ended ones, whose slot another job waits for.
    """
    second = int(time.time())
    changed = ended_jobs(_seen) if _last_full_check.get("second") == second else changed_jobs(_seen)
    _last_full_check["second"] = second
    if changed:
        refresh.refresh(list(Job.objects.filter(pk__in=changed, status__in=ACTIVE)), source=Source.POLL)


def clear_away(job_id: str) -> bool:
    """Remove a deleted job's files."""
    job = Job.objects.filter(pk=job_id, deleted_at__isnull=False).select_related("dataset").first()
    return job is not None and maintenance.remove_files(job)


def keep_curves(job_id: str) -> bool:
    """Read a job's log, and keep its curves."""
    job = Job.objects.kept().filter(pk=job_id).first()
    return job is not None and kept.keep_curves(job)


def make_thumbnails(job_id: str, paths: list[str], width: int) -> int:
    """Make the small copies of a training's pictures."""
    job = Job.objects.kept().filter(pk=job_id).first()
    return thumbnails.make_thumbnails(job, paths, width) if job else 0


def prepare_gallery(job_id: str) -> int:
    """Make the small copies that whoever comes to see the results of a training sees first."""
    job = Job.objects.kept().filter(pk=job_id).first()
    return thumbnails.prepare_gallery(job) if job else 0


def fetch_outputs(job_id: str) -> bool:
    """Copy what a training made before its provider deletes it."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        return False
    with job_log_context(job):
        return fetching.fetch_outputs(job_id)


def cancel_at_provider(job_id: str) -> bool:
    """Ask the job's provider to stop it, and then for its status: the answer to the first is not trusted."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None or not refresh.cancel_at_providers([job]):
        return False
    refresh.refresh([job], source=Source.POLL)
    return True
