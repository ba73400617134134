"""An organization's list of tags, which its admins change."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404

from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.folding import folded
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import JobTag, Organization, Tag
from jobs.models.tag import MAX_KEY_CHARACTERS
from jobs.organizations.authority import By, actor_of, check_administers, lock_organization

#: More are no list to choose from.
MAX_TAGS = 100


def tags_of(organization: Organization) -> QuerySet[Tag]:
    """Return the organization's tags by name, each with the number of `jobs` that carry it."""
    # Joined with its jobs, PostgreSQL would read those of all organizations.
    carried = JobTag.objects.filter(tag=OuterRef("pk")).order_by().values("tag").annotate(count=Count("tag"))
    return organization.tags.annotate(jobs=Coalesce(Subquery(carried.values("count")), 0)).order_by("name_key")


def find_tag(organization: Organization, name: str) -> Tag:
    """Return the tag of that name, in whatever capitals. Raises Http404."""
    found = None if "\x00" in name else tags_of(organization).filter(name_key=folded(name)).first()
    if found is None:
        raise Http404
    return found


def add_tag(organization: Organization, name: str, *, by: By) -> Tag:
    """Return a new tag.

    Raises PermissionDenied, ValidationError for a name that can't be, and Conflict for one that is there, and for one
    tag too many.
    """
    with unit_of_work():
        organization = lock_organization(organization)
        check_administers(by, organization)
        tag = Tag(organization=organization, name=name)
        _check_name(tag)
        if organization.tags.count() >= MAX_TAGS:
            raise Conflict(f"{organization} has {MAX_TAGS} tags, the maximum. Remove one first.")
        tag.save(force_insert=True)
        record("tag_added", tag, by=actor_of(by), organization=organization, after={"name": name})
    return tag


def rename_tag(tag: Tag, name: str, *, by: By) -> bool:
    """Give a tag another name: the jobs that carry it carry it under that. False: it is its name already.

    Raises as `add_tag` does, and Http404 when it was removed.
    """
    with unit_of_work():
        organization = lock_organization(tag.organization)
        check_administers(by, organization)
        current = organization.tags.filter(pk=tag.pk).first()
        if current is None:
            raise Http404
        former, current.name = current.name, name
        if former == name:
            return False
        _check_name(current)
        current.save(update_fields=["name", "name_key"])
        names = {"before": {"name": former}, "after": {"name": name}}
        record("tag_renamed", current, by=actor_of(by), organization=organization, **names)
    tag.name, tag.name_key = current.name, current.name_key
    return True


def remove_tag(tag: Tag, *, by: By) -> int | None:
    """Take a tag from the list and from all jobs. Returns from how many; None: it was removed already.

    Raises PermissionDenied.
    """
    with unit_of_work():
        organization = lock_organization(tag.organization)
        check_administers(by, organization)
        current = tags_of(organization).filter(pk=tag.pk).first()
        if current is None:
            return None
        jobs: int = current.jobs  # type: ignore[attr-defined]
        before = {"name": current.name, "jobs": jobs}
        record("tag_removed", current, by=actor_of(by), organization=organization, before=before)
        current.delete()
    return jobs


def _check_name(tag: Tag) -> None:
    """Fill in the tag's key. Raises ValidationError, and Conflict for the name of another tag."""
    tag.name_key = folded(tag.name)
    tag.clean_fields(exclude={"organization", "name_key"})
    if len(tag.name_key) > MAX_KEY_CHARACTERS:
        raise ValidationError({"name": "This name is too long."})
    others = tag.organization.tags.filter(name_key=tag.name_key).exclude(pk=tag.pk)
    if other := others.first():
        raise Conflict(f"There is a tag {other.name} already.", code="name_taken")
