"""The removal of a person: the account becomes a pseudonym, and what was only theirs goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import models
from django.utils import timezone

from cloudtrain_site.accounts.api_keys import revoke_all_keys
from cloudtrain_site.audit.recording import Subject, record
from cloudtrain_site.audit.retention import rename_person
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import kept_of_person
from cloudtrain_site.people.naming import Identity, occurrences, rename_everywhere
from jobs.datasets import store
from jobs.models import DatasetUpload, Job, Membership, Organization, ServiceAccount
from jobs.organizations.authority import By, actor_of, check_runs_site
from jobs.organizations.members import cancel_jobs, people_in
from jobs.organizations.people import check_superuser_stays
from jobs.roles import Role
from jobs.statuses import ACTIVE


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal would take, rename and keep, as numbers by kind; and what it has to wait for."""

    pseudonym: str
    takes: dict[str, int]
    renames: dict[str, int]
    keeps: dict[str, int]
    active_jobs: int
    #: Why the person can't be removed at all now; empty: they can.
    objection: str


def pseudonym_of(user: User) -> str:
    """Nobody else can choose it: a user's name has no blank."""
    return f"former member {user.pk}"


def what_removal_takes(user: User) -> Removal:
    related = dict(_related(user))
    kept = Job.objects.filter(submitted_by=user).count()
    return Removal(
        pseudonym=pseudonym_of(user),
        takes=_counts(related[name] for name in related if not _is_kept(name)) | _uploads(user),
        renames=occurrences(_identity(user)),
        keeps=_counts(related[name] for name in related if _is_kept(name)) | ({"jobs": kept} if kept else {}),
        active_jobs=_active(user).count(),
        objection=_objection(user),
    )


def remove_person(user: User, *, by: By, cancel: bool = False) -> str:
    """Put a pseudonym in the person's place everywhere, and remove what was theirs alone. Returns the pseudonym.

    `cancel`: their jobs that did not end yet are cancelled; without it they are a Conflict. Histories, jobs, decisions
    and audit records stay, under the pseudonym; configs are the organization's and stay as they are. A removal that was
    interrupted is completed by a second call. Raises PermissionDenied, and Conflict for oneself, the last superuser,
    the last admin of an organization and a service account.
    """
    pseudonym, identity = pseudonym_of(user), _identity(user)
    _end_access(user, by, cancel)
    rename_everywhere(identity, pseudonym)
    for upload in DatasetUpload.objects.filter(uploaded_by=user, removed_at=None):
        store.remove(upload)
    with unit_of_work():
        DatasetUpload.objects.filter(uploaded_by=user).update(name="removed")
        for name, rows in _related(user):
            if not _is_kept(name):
                rows.delete()
        rename_person(user.pk, pseudonym)
        user.groups.clear()
        user.user_permissions.clear()
        User.objects.filter(pk=user.pk).update(
            username=pseudonym, email="", first_name="", last_name="", last_login=None, is_active=False
        )
        record("person_removed", Subject("user", str(user.pk), pseudonym), by=actor_of(by))
    return pseudonym


def _end_access(user: User, by: By, cancel: bool) -> None:
    """End the account, so that no new row gets the name. Raises what `remove_person` raises."""
    with unit_of_work():
        check_runs_site(by)
        if isinstance(by, User) and by.pk == user.pk:
            raise Conflict("You can't remove yourself. Another superuser can.")
        list(Organization.objects.select_for_update().filter(memberships__user=user).order_by("pk").values_list("pk"))
        check_superuser_stays([user.pk])
        if objection := _objection(user):
            raise Conflict(objection)
        active = _active(user)
        if active.exists() and not cancel:
            jobs = "1 active job" if active.count() == 1 else f"{active.count()} active jobs"
            raise Conflict(f"{user} has {jobs}. Wait until they end, or cancel them too.")
        revoke_all_keys(user, by=actor_of(by))
        cancel_jobs(active, by, "the submitter was removed")
        Membership.objects.filter(user=user).delete()
        user.is_active = user.is_superuser = user.is_staff = False
        user.set_unusable_password()
        user.save(update_fields=["is_active", "is_superuser", "is_staff", "password"])
    _end_sessions(user)


def _end_sessions(user: User) -> None:
    """Delete the rows of the person's sessions: what they hold says whose they are only when it is decoded."""
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator(chunk_size=500):
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()


def _objection(user: User) -> str:
    if user.username == pseudonym_of(user):
        return f"{user} was already removed."
    if ServiceAccount.objects.filter(user=user).exists():
        return f"{user} is a service account. Its organization's admins remove it."
    for membership in Membership.objects.filter(user=user, role=Role.ADMIN).select_related("organization"):
        organization = membership.organization
        others = people_in(organization).filter(role=Role.ADMIN, user__is_active=True).exclude(user=user)
        if not organization.is_closed and not others.exists():
            return f"{user} is the last admin of {organization}. Make somebody else an admin first."
    return ""


def _active(user: User) -> models.QuerySet[Job]:
    return Job.objects.filter(submitted_by=user, status__in=ACTIVE)


def _identity(user: User) -> Identity:
    addresses = {user.email, *EmailAddress.objects.filter(user=user).values_list("email", flat=True)} - {""}
    return Identity((user.username, *sorted(addresses)))


def _related(user: User) -> Iterator[tuple[str, models.QuerySet[Any]]]:
    """Yield the rows that go with an account when it is deleted, by the label of their model and the column's name."""
    for relation in User._meta.related_objects:
        if relation.on_delete is models.CASCADE and relation.field.concrete:
            model = relation.related_model
            rows: models.QuerySet[Any] = models.QuerySet(model).filter(**{relation.field.name: user})
            yield f"{model._meta.label}.{relation.field.name}", rows


def _is_kept(name: str) -> bool:
    return name in kept_of_person


def _counts(querysets: Iterator[models.QuerySet[Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for rows in querysets:
        counts[str(rows.model._meta.verbose_name_plural)] += rows.count()
    return {name: count for name, count in sorted(counts.items()) if count}


def _uploads(user: User) -> dict[str, int]:
    count = DatasetUpload.objects.filter(uploaded_by=user, removed_at=None).count()
    return {"uploaded datasets": count} if count else {}
