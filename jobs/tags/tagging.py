"""Which jobs carry which tags of their organization: put on and taken off by those who may change the job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from cloudtrain_site.database.folding import folded
from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor
from jobs.models import Job, JobTag, Organization, Tag
from jobs.permissions import AnyUser

MAX_TAGS_OF_JOB = 10
_LINKS = Prepared(
    lambda *jobs: JobTag.objects.filter(job__in=jobs).order_by("tag__name_key").values_list("job_id", "tag__name")
)


def chosen_tags(organization: Organization, names: Iterable[str]) -> list[Tag]:
    """Return the organization's tags of these names, in whatever capitals.

    Raises ValidationError for a name that none of its tags has, and for more than one job carries.
    """
    requested = {folded(name): name for name in names}
    if len(requested) > MAX_TAGS_OF_JOB:
        raise ValidationError({"tags": f"A job carries at most {MAX_TAGS_OF_JOB} tags."})
    # One by one compared here: a NUL is no text for PostgreSQL.
    tags = {tag.name_key: tag for tag in organization.tags.all()} if requested else {}
    if unknown := [name for key, name in requested.items() if key not in tags]:
        raise ValidationError({"tags": _unknown(organization, unknown[0], [tag.name for tag in tags.values()])})
    return [tags[key] for key in requested]


def _unknown(organization: Organization, name: str, known: Sequence[str]) -> str:
    there = f"There are: {', '.join(known)}." if known else "It has none."
    return f"{organization} has no tag “{name}”. {there} Its admins add tags in its settings."


def put_on_new_job(job: Job, names: Iterable[str]) -> None:
    """Let a job carry the tags from its beginning, in its transaction. What was removed meanwhile is left out."""
    keys = [folded(name) for name in names]
    if keys:
        kept = Tag.objects.select_for_update(no_key=True).filter(organization=job.organization_id, name_key__in=keys)
        JobTag.objects.bulk_create(JobTag(job=job, tag=tag) for tag in kept.order_by("pk"))


def set_tags(job: Job, names: Iterable[str], *, by: User, source: str) -> bool:
    """Let `job` carry these tags of its organization and no others. False: it carries them already.

    Raises ValidationError for a name that no tag has, for one too many, and for a job of no organization.
    """
    with unit_of_work():
        current = Job.objects.select_for_update(no_key=True).select_related(None).get(pk=job.pk)
        if current.organization is None:
            raise ValidationError({"tags": "This job belongs to no organization, so it can't have tags."})
        tags = {tag.pk: tag for tag in chosen_tags(current.organization, names)}
        carried = set(current.job_tags.values_list("tag", flat=True))
        if carried == set(tags):
            return False
        current.job_tags.exclude(tag__in=tags).delete()
        JobTag.objects.bulk_create(JobTag(job=current, tag=tags[pk]) for pk in tags if pk not in carried)
        listed = ", ".join(sorted(tag.name for tag in tags.values()))
        current.record_note(Actor.of(by), source, f"tags: {listed}" if listed else "tags: none")
    return True


def tags_by_job(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return the names of the tags that these jobs carry, by job id, in the order of the names."""
    found: dict[str, list[str]] = defaultdict(list)
    for job_id, name in _LINKS.of_each([job.pk for job in jobs]):
        found[job_id].append(name)
    return found


def facet(jobs: Sequence[Job], viewer: AnyUser, requested: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return the jobs' tags, see `jobs.extensions.Facet`."""
    if "tags" not in requested:
        return {}
    return {job_id: {"tags": names} for job_id, names in tags_by_job(jobs).items()}
