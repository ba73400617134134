"""The verbs of uploaded datasets. Each returns whether this call made the change."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404
from django.utils import timezone

from cloudtrain_site import archives
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.limits import check_uploads, lock_person
from jobs.models import DatasetCopy, DatasetUpload, Job, Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of, role_in
from jobs.providers.datasets import RemoteCopy
from jobs.providers.local import dataset
from jobs.roles import MANAGERS, SUBMITTERS
from jobs.statuses import ACTIVE

logger = logging.getLogger("simpletuner.cloud.jobs")

#: Below Replicate's limit, whichever kind of megabyte it counts in.
UPLOAD_LIMIT_BYTES = 100_000_000
#: The form's own bytes around the archive.
FORM_BYTES = 1_000_000
#: The age at which a cut-off upload or a file without a row is removed: a younger one's row may be about to come.
LEFTOVER_SECONDS = 86_400.0
MAX_SWEPT_PER_RUN = 500
UNPACKED_FOR = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Received:
    path: Path
    name: str
    size: int
    sha256: str


def folder() -> Path:
    return Path(settings.DATA_DIR) / "uploads"


def incoming_folder() -> Path:
    return folder() / "incoming"


def path_of(upload: DatasetUpload) -> Path:
    """Return where the archive is, if this machine has it."""
    return folder() / upload.pk


def store_upload(received: Received, *, user: User, organization: Organization) -> DatasetUpload:
    """Check what arrived and keep it. Raises ArchiveError or LimitReachedError, and then nothing is kept."""
    contents = archives.check(received.path)
    upload = DatasetUpload(
        organization=organization,
        uploaded_by=user,
        name=received.name,
        kind=contents.kind,
        size=received.size,
        sha256=received.sha256,
        files=contents.files,
        unpacked_size=contents.unpacked_size,
        stored_on=socket.gethostname(),
    )
    with unit_of_work():
        lock_person(user)
        check_uploads(user, received.size)
        # The file first: a crash in between leaves a file that the sweep removes, never a row without its file.
        received.path.rename(path_of(upload))
        upload.save(force_insert=True)
    extra = {"upload_id": upload.pk, "size": upload.size, "kind": upload.kind, "files": upload.files}
    logger.info("Dataset uploaded", extra=extra)
    return upload


def visible_uploads(user: AnyUser) -> QuerySet[DatasetUpload]:
    uploads = DatasetUpload.objects.filter(removed_at=None)
    if not is_superuser(user):
        uploads = uploads.filter(organization__in=organizations_of(user))
    return uploads.select_related("organization", "uploaded_by").prefetch_related("copies")


def own_uploads(user: AnyUser) -> QuerySet[DatasetUpload]:
    return visible_uploads(user).filter(uploaded_by_id=user.pk or 0)


def find_upload(user: AnyUser, upload_id: str) -> DatasetUpload:
    """Return the upload with that id. Raises Http404 when `user` may see none."""
    upload = None if "\x00" in upload_id else visible_uploads(user).filter(pk=upload_id.lower()).first()
    if upload is None:
        raise Http404
    return upload


def upload_in(user: AnyUser, organization: Organization, upload_id: str) -> DatasetUpload | None:
    """Return the upload of `organization` with that id; None when `user` may see none."""
    own = visible_uploads(user).filter(organization=organization)
    return None if "\x00" in upload_id else own.filter(pk=upload_id.lower()).first()


def may_remove(user: AnyUser, upload: DatasetUpload) -> bool:
    """Whether `user` may remove it: its uploader, as long as they may submit; leads and admins everybody's."""
    role = role_in(user, upload.organization_id)
    return role in MANAGERS or (role in SUBMITTERS and upload.uploaded_by_id == user.pk)


def in_use(upload: DatasetUpload) -> int:
    """Return how many jobs that have not ended use it."""
    return Job.objects.active().filter(dataset=upload).count()


def remove(upload: DatasetUpload) -> bool:
    """Remove an archive that no active job uses. False: one does, or it was removed before."""
    with transaction.atomic():
        present = DatasetUpload.objects.select_for_update().filter(pk=upload.pk, removed_at=None)
        if not present.exists() or in_use(upload):
            return False
        present.update(removed_at=timezone.now())
        transaction.on_commit(lambda: path_of(upload).unlink(missing_ok=True), robust=True)
    return True


def remove_dataset_of(job: Job) -> bool:
    """Remove the dataset of a job that was deleted, if its submitter uploaded it and no other job has it."""
    upload = job.dataset
    if upload is None or upload.uploaded_by_id != job.submitted_by_id:
        return False
    return not Job.objects.kept().filter(dataset=upload).exists() and remove(upload)


def sweep() -> int:
    """Remove files on this machine without a row, and what was unpacked for ended jobs. Returns how many."""
    return _remove_files() + _remove_unpacked()


def remove_unused(before: datetime, until: float) -> int:
    """Remove the datasets that no job has used since then, see `extensions.Kept`. Returns how many."""
    used = Job.objects.filter(dataset=OuterRef("pk"), status__in=ACTIVE)
    unused = DatasetUpload.objects.filter(~Exists(used), removed_at=None, last_used_at__lt=before)
    found = unused.order_by("last_used_at")[:MAX_SWEPT_PER_RUN]
    return sum(remove(upload) for upload in found if time.monotonic() < until)


def _remove_unpacked() -> int:
    """Remove what was unpacked on this machine for trainings that have ended lately."""
    since = timezone.now() - UNPACKED_FOR
    ended = Job.objects.ended_since(since).filter(provider="local").exclude(dataset=None)
    jobs = Path(settings.DATA_DIR) / "jobs"
    return sum(dataset.remove(jobs, job_id) for job_id in ended.values_list("pk", flat=True))


def _remove_files() -> int:
    """Remove files without a row: another machine's sweep removed it, or a crash kept it from being made."""
    if not folder().is_dir():
        return 0
    files = {path.name: path for path in folder().iterdir() if path.is_file()}
    present = DatasetUpload.objects.filter(pk__in=list(files)[:MAX_SWEPT_PER_RUN], removed_at=None)
    recorded = set(present.values_list("pk", flat=True))
    unknown = [path for name, path in list(files.items())[:MAX_SWEPT_PER_RUN] if name not in recorded]
    incoming = incoming_folder().iterdir() if incoming_folder().is_dir() else ()
    return sum(_remove_old(path) for path in (*unknown, *incoming))


def _remove_old(path: Path) -> bool:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
            path.unlink()
            return True
    return False


def copy_at(upload: DatasetUpload, provider: str) -> RemoteCopy | None:
    """Return the provider's copy, as far as we know; None without a complete one."""
    row = DatasetCopy.objects.filter(upload=upload, provider=provider).exclude(address="").first()
    return RemoteCopy(row.external_id, row.address, row.expires_at) if row else None


def record_copy(upload: DatasetUpload, provider: str, copy: RemoteCopy) -> None:
    """Record that the provider has all of it. A copy without an id was made for a single job, and isn't kept."""
    if not copy.external_id:
        delete_unfinished_copy(upload, provider)
        return
    columns: dict[str, Any] = {"external_id": copy.external_id, "address": copy.address, "expires_at": copy.expires_at}
    columns |= {"sent_bytes": upload.size, "updated_at": timezone.now()}
    DatasetCopy.objects.update_or_create(upload=upload, provider=provider, defaults=columns)


def delete_unfinished_copy(upload: DatasetUpload, provider: str) -> None:
    """Delete the row of a transfer that ended half-way: the provider has nothing of it."""
    DatasetCopy.objects.filter(upload=upload, provider=provider, address="").delete()


def record_sent(upload: DatasetUpload, provider: str, sent: int) -> None:
    """Record how many bytes are there. An earlier copy no longer counts."""
    columns: dict[str, Any] = {"sent_bytes": sent, "external_id": "", "address": "", "expires_at": None}
    columns["updated_at"] = timezone.now()
    DatasetCopy.objects.update_or_create(upload=upload, provider=provider, defaults=columns)
