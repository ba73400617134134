"""How long what ended trainings wrote is kept: `retention` in the configuration file.

Each round measures what ended since, decides which files go, announces that, and removes what was announced long
enough ago. What is decided stands in `StoredOutput`, so that a crash at any line is continued by the next round.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, F, Sum
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from cloudtrain_site.conf.retention import Retention
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.states import Actor, Source
from jobs.models import Job, StoredOutput
from jobs.outputs import measuring, removal
from jobs.outputs.keeping import WHY, taken_by

logger = logging.getLogger("simpletuner.cloud.jobs")

NOTICE = "outputs_removal"
KEEPER = Actor(name="retention")
GB = 1_000_000_000
ID_IN_TEXT = re.compile(r"(?<![0-9a-z])[0-9a-hjkmnp-tv-z]{26}(?![0-9a-z])")
Cause = StoredOutput.Cause


@dataclass(frozen=True, slots=True)
class Stored:
    """The files of one ended training, as the decision needs them."""

    job_id: str
    organization_id: int | None
    ended_at: datetime
    size: int
    checkpoints: int
    is_pinned: bool


def run(before: datetime | None, until: float) -> int:
    """Do one round, until `time.monotonic()` is past `until`. Returns how many trainings' files went.

    `before` is ignored: the settings are read here, since there are several.
    """
    measuring.measure_ended(until)
    now = timezone.now()
    decide(config_in_force().retention, now)
    return removal.remove_due(now, until, ids_in_use)


def decide(rules: Retention, now: datetime) -> None:
    """Announce the removals that the settings want by now, and take back those that they don't want any more."""
    wanted = due_removals(_stored(), rules, now)
    for job_id in ids_in_use():
        wanted.pop(job_id, None)
    announced = dict(StoredOutput.objects.exclude(remove_at=None).values_list("pk", "cause"))
    for job_id in announced.keys() - wanted.keys():
        _take_back(job_id)
    for job_id, cause in wanted.items():
        stands = announced.get(job_id, "")
        if stands != cause and stands in ("", Cause.CHECKPOINTS):
            _announce(job_id, cause, rules, now)


def _stored() -> list[Stored]:
    rows = StoredOutput.objects.filter(size__gt=0).exclude(job__completed_at=None)
    columns = ("pk", "job__organization_id", "job__completed_at", "size", "checkpoints", "pinned_at")
    return [
        Stored(job_id, organization, ended_at, size, checkpoints, pinned_at is not None)
        for job_id, organization, ended_at, size, checkpoints, pinned_at in rows.values_list(*columns)
    ]


def due_removals(stored: Iterable[Stored], rules: Retention, now: datetime) -> dict[str, Cause]:
    """Return what is to be announced by `now`, or announced already, by job id."""
    by_organization: dict[int | None, list[Stored]] = defaultdict(list)
    for item in stored:
        by_organization[item.organization_id].append(item)
    found: dict[str, Cause] = {}
    for items in by_organization.values():
        items.sort(key=lambda item: (item.ended_at, item.job_id))
        found |= _of_organization(items, rules, now)
    return found


def _of_organization(items: Sequence[Stored], rules: Retention, now: datetime) -> dict[str, Cause]:
    """`items` are sorted, the oldest first: those go first when there is too much."""
    excess = sum(item.size for item in items) - rules.outputs_gb * GB if rules.outputs_gb is not None else 0
    found: dict[str, Cause] = {}
    for item in items:
        if item.is_pinned:
            continue
        if rules.results is not None and item.ended_at + rules.results - rules.announced <= now:
            found[item.job_id] = Cause.AGE
        elif excess > 0:
            found[item.job_id] = Cause.SIZE
        elif rules.checkpoints is not None and item.checkpoints > rules.checkpoints:
            found[item.job_id] = Cause.CHECKPOINTS
            continue
        else:
            continue
        excess -= item.size
    return found


def ids_in_use() -> set[str]:
    """Return the ids of jobs whose files an open job may read: it goes on from them, or repeats the job."""
    found: set[str] = set()
    open_jobs = Job.objects.active().values_list("retry_of_id", "checkpoint_of_id", "config", "metadata")
    for retry_of, checkpoint_of, config, metadata in open_jobs.iterator():
        found.update(ID_IN_TEXT.findall(json.dumps([config, metadata])), filter(None, (retry_of, checkpoint_of)))
    return found


def _announce(job_id: str, cause: Cause, rules: Retention, now: datetime) -> None:
    with unit_of_work():
        row = StoredOutput.objects.select_for_update(of=("self",)).select_related("job").get(pk=job_id)
        if row.pinned_at is not None or row.begun_at is not None:
            return
        remove_at = now + rules.announced
        if cause == Cause.AGE and rules.results is not None and row.job.completed_at is not None:
            remove_at = max(remove_at, row.job.completed_at + rules.results)
        row.remove_at, row.cause = remove_at, cause
        row.save(update_fields=["remove_at", "cause"])
        what = f"{taken_by(row)} will be removed on {remove_at:%-d %b %Y}: {WHY[cause]}"
        row.job.record_note(KEEPER, Source.LOOP, what)
        if row.job.deleted_at is None:
            _store_notice(row, what)
    logger.info("Results will be removed", extra={"job_id": job_id, "cause": str(cause), "at": remove_at.isoformat()})


def _store_notice(row: StoredOutput, what: str) -> None:
    job = row.job
    assert row.remove_at is not None
    store(
        NOTICE,
        key=f"{NOTICE} {job.pk} {row.cause} {row.remove_at:%Y-%m-%d}",
        subject=f"Files of {job.config_name} will be removed on {row.remove_at:%-d %b %Y}",
        text=f"{what}.\nDownload what you need before, or pin the results on their page: pinned files stay.",
        audience=Audience(
            users=[] if job.submitted_by_id is None else [job.submitted_by_id], organization_id=job.organization_id
        ),
        link=f"/jobs/{job.pk}/results",
        job_id=job.pk,
        data={"remove_at": row.remove_at.isoformat(), "cause": row.cause, "size": row.size},
    )


def _take_back(job_id: str) -> None:
    """End an announcement; a removal that has begun goes on."""
    with unit_of_work():
        announced = StoredOutput.objects.filter(pk=job_id, begun_at=None).exclude(remove_at=None)
        if announced.update(remove_at=None, cause=""):
            Job.objects.get(pk=job_id).record_note(KEEPER, Source.LOOP, "its files stay")


def usage_as_text() -> str:
    """Return how much all organizations' results take, as a sentence for the health page."""
    found = StoredOutput.objects.filter(size__gt=0).aggregate(
        runs=Count("pk"), size=Sum("size"), going=Count("remove_at")
    )
    free = shutil.disk_usage(settings.DATA_DIR).free
    text = (
        f"The results of {found['runs']} ended runs take {filesizeformat(found['size'] or 0)}; "
        f"{found['going']} of these runs will lose files. The data folder has {filesizeformat(free)} left."
    )
    return text.replace("\xa0", " ")


def usage_of(organization_id: int) -> Mapping[str, int]:
    """Return the size of an organization's results here, of its pinned ones, and how many runs have some."""
    rows = StoredOutput.objects.filter(job__organization_id=organization_id, size__gt=0).values_list(
        "size", F("pinned_at")
    )
    sizes = [(size, pinned_at is not None) for size, pinned_at in rows]
    return {
        "runs": len(sizes),
        "size": sum(size for size, _ in sizes),
        "pinned": sum(size for size, is_pinned in sizes if is_pinned),
    }
