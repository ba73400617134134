"""What a training wrote: where it is, and the list of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.template.defaultfilters import filesizeformat

from jobs.models import Job, OutputFetch, StoredOutput
from jobs.outputs.folder import OutputFile, OutputFolder
from jobs.providers import get_provider
from jobs.providers.base import Handle, KeepsOutput, ProviderError
from jobs.providers.runner.records import host_name

FETCHED = "outputs"


@dataclass(frozen=True, slots=True)
class Listing:
    files: list[OutputFile]
    #: Nothing more will come: the training has ended, and nothing is left to fetch.
    complete: bool


def folder_of(job: Job) -> OutputFolder | None:
    """Return the folder of what the job's training wrote; None: nothing of it is on this machine."""
    root = _root_of(job)
    folder = OutputFolder(root) if root else None
    return folder if folder and folder.exists() else None


def _root_of(job: Job) -> Path | None:
    if not job.external_id:
        return None
    try:
        provider = get_provider(job.provider)
        if isinstance(provider, KeepsOutput):
            return provider.output_folder(Handle(job.pk, job.external_id, metadata=job.metadata))
    except ProviderError:  # it was taken out of the settings, or the id is none of its own
        return None
    return fetched_root(job)


def deletes_output(job: Job) -> bool:
    """Whether the job's files, if there are any, were copied here from its provider."""
    try:
        return not isinstance(get_provider(job.provider), KeepsOutput)
    except ProviderError:
        return False


def fetched_root(job: Job) -> Path:
    """Return where the results are kept that were fetched from a provider which deletes them."""
    return Path(settings.DATA_DIR) / FETCHED / job.pk


def listing_of(job: Job, below: str = "") -> Listing:
    """Return what is in the folder `below`. Raises NotFoundError when there is no such folder."""
    folder = folder_of(job)
    files = list(folder.files(below)) if folder else []
    return Listing(files, complete=job.is_terminal and not is_being_fetched(job))


def is_being_fetched(job: Job) -> bool:
    fetch = OutputFetch.objects.filter(pk=job.pk).first()
    return fetch is not None and fetch.status == OutputFetch.Status.PENDING


def absence_of(job: Job) -> str:
    """Return why files of the job are missing here, as a sentence; empty when they are here."""
    fetch = OutputFetch.objects.filter(pk=job.pk).first()
    if fetch is not None and fetch.status != OutputFetch.Status.COMPLETE:
        return _progress_of(fetch)
    if removed := _removal_of(job):
        return removed
    if folder_of(job) is not None:
        return ""
    if not job.external_id:
        return "The training has not begun."
    host = job.metadata.get("host")
    if host and host != host_name():
        return f"The files are on the machine {host}, which trained."
    if not job.is_terminal:
        return "The training has written no file so far."
    return "No file of this training is on this machine."


def _removal_of(job: Job) -> str:
    """Return that all files went, or are going, as a sentence; empty when they are not."""
    stored = StoredOutput.objects.filter(pk=job.pk).first()
    if stored is None:
        return ""
    if stored.begun_at is not None and stored.takes_all:
        return "The files are being removed."
    if stored.removed_at is not None and not stored.size:
        return f"{stored.removed}, on {stored.removed_at:%-d %b %Y}."
    return ""


def _progress_of(fetch: OutputFetch) -> str:
    if fetch.status == OutputFetch.Status.FAILED:
        return fetch.problem
    so_far = f"{fetch.fetched} of {len(fetch.sources)} so far, {filesizeformat(fetch.bytes_fetched)}"
    trouble = f" {fetch.problem} It is tried again." if fetch.problem else ""
    return f"The results are being fetched from the provider: {so_far}.{trouble}"
