"""How many open jobs and kept uploads one person may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.limits.streams import open_by_user
from jobs.models import DatasetUpload, Job

#: Nobody knows when a job will end or somebody removes an upload: a client looks again after this long.
RETRY_AFTER_SECONDS = 60


def lock_person(user: User) -> None:
    """Let no other transaction count this person's things until this one ends.

    On SQLite a transaction is the only writer anyway.
    """
    if connection.features.has_select_for_update:
        User.objects.select_for_update(no_key=True).filter(pk=user.pk).values_list("pk").first()


def open_jobs(user: int | OuterRef) -> Coalesce:
    """Return the number of somebody's open jobs, as a part of a query. It has the condition of its index."""
    return _figure(Job.objects.filter(submitted_by=user, completed_at=None), "submitted_by", Count("pk"))


def check_open_jobs(user: User) -> None:
    """Raise LimitReachedError for a person who may have no further open job."""
    check_number_of_jobs(user, Job.objects.filter(submitted_by=user, completed_at=None).count())


def check_number_of_jobs(user: User, number: int) -> None:
    """Raise LimitReachedError when `number` open jobs are as many as the user may have."""
    allowed = config_in_force().limits.open_jobs
    if number >= allowed:
        jobs = "1 open job" if allowed == 1 else f"{allowed} open jobs"
        detail = f"You have {jobs}, the maximum per user. Cancel some, or wait until one ends."
        raise LimitReachedError("open_jobs", user.pk, detail, wait=RETRY_AFTER_SECONDS)


def check_uploads(user: User, size: int = 0) -> None:
    """Raise LimitReachedError for a person who may not keep another upload, of `size` bytes.

    With no size, for one who may keep none whatever its size.
    """
    limits = config_in_force().limits
    count, kept = uploads_of([user.pk])[user.pk]
    if count >= limits.uploads:
        uploads = "1 uploaded dataset" if limits.uploads == 1 else f"{limits.uploads} uploaded datasets"
        detail = f"You have {uploads}, the maximum per user. Remove one that no job needs."
        raise LimitReachedError("uploads", user.pk, detail, wait=RETRY_AFTER_SECONDS)
    if kept + max(size, 1) > limits.upload_bytes:
        detail = (
            f"Your uploaded datasets have {kept:,} bytes. With this one they would have more than "
            f"{limits.upload_bytes:,}, the maximum per user. Remove some that no job needs."
        )
        raise LimitReachedError("upload_bytes", user.pk, detail, wait=RETRY_AFTER_SECONDS)


def with_counts(users: QuerySet[User]) -> QuerySet[User]:
    """Return the users with `open_jobs`, `kept_uploads` and `kept_bytes` of each."""
    kept = DatasetUpload.objects.filter(uploaded_by=OuterRef("pk"), removed_at=None)
    return users.annotate(
        open_jobs=open_jobs(OuterRef("pk")),
        kept_uploads=_figure(kept, "uploaded_by", Count("pk")),
        kept_bytes=_figure(kept, "uploaded_by", Sum("size")),
    )


def _figure(rows: QuerySet[Any], person: str, figure: Count | Sum) -> Coalesce:
    return Coalesce(Subquery(rows.order_by().values(person).annotate(figure=figure).values("figure")), 0)


def at_a_limit(users: QuerySet[User]) -> QuerySet[User]:
    """Return those of `with_counts` who may have no more of something."""
    limits = config_in_force().limits
    streaming = [user for user, number in open_by_user().items() if number >= limits.streams]
    return users.filter(
        Q(open_jobs__gte=limits.open_jobs)
        | Q(kept_uploads__gte=limits.uploads)
        | Q(kept_bytes__gte=limits.upload_bytes)
        | Q(pk__in=streaming)
    )


def uploads_of(user_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return by user how many uploads are kept, and their bytes."""
    kept = DatasetUpload.objects.filter(uploaded_by__in=user_ids, removed_at=None).order_by()
    rows: Any = kept.values_list("uploaded_by").annotate(Count("pk"), Sum("size"))
    return dict.fromkeys(user_ids, (0, 0)) | {user: (count, size) for user, count, size in rows}
