"""The page of what a training wrote: its pictures by step and prompt, and its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import RFC3986_SUBDELIMS, urlencode
from django.views.decorators.cache import never_cache

from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.pages import within_limits
from jobs.dashboard.job_tabs import job_of, tab_view
from jobs.dashboard.navigation import part
from jobs.models import Job, StoredOutput
from jobs.outputs import keeping
from jobs.outputs.folder import NotFoundError, OutputFile
from jobs.outputs.gallery import Gallery, Picture, gallery_of
from jobs.outputs.kinds import describe
from jobs.outputs.remote import remote_copies
from jobs.outputs.serving import modified_at, printable
from jobs.outputs.store import Listing, absence_of, listing_of
from jobs.outputs.thumbnails import LARGE, SMALL, request_thumbnails
from jobs.permissions import AnyUser, can_change, visible_jobs
from jobs.runs.tree import root_of

#: What a gallery's slider goes through.
PICTURES_IN_SLIDER = 2_000
#: Of a folder; the zip has all of it.
FILES_SHOWN = 200
OTHERS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ShownFile:
    name: str
    address: str
    kind: str
    step: int | None
    size: int
    modified_at: Any


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below one folder at the top of the output; an empty name: those that lie at the top."""

    name: str
    files: Sequence[ShownFile]
    hidden: int
    size: int
    archive: str

    @property
    def count(self) -> int:
        return len(self.files) + self.hidden


def file_address(job: Job, path: str) -> str:
    """Return the address of a file, quoted as `reverse` does, which is slow for the thousands of a page."""
    return _address_before(job.pk) + quote(path, safe=f"{RFC3986_SUBDELIMS}/~:@")


@lru_cache(maxsize=64)
def _address_before(job_id: str) -> str:
    return reverse("job-output", args=[job_id, "x"]).removesuffix("x")


def small_address(job: Job, path: str, width: int) -> str:
    return f"{file_address(job, path)}?{urlencode({'thumbnail': width})}"


@part
def results_now(request: HttpRequest, job_id: str) -> HttpResponse:
    return render(request, "dashboard/_results.html", _results(job_of(request, job_id), request))


@never_cache
@login_required
@within_limits
def pin_results(request: HttpRequest, job_id: str) -> HttpResponse:
    """Pin the job's files, or release them, and lead back to their page."""
    job = job_of(request, job_id)
    if request.method == "POST":
        if not can_change(request.user, job):
            raise PermissionDenied("Only the submitter, a lead or an admin can pin the results.")
        is_pinned = request.POST.get("pin") == "on"
        try:
            keeping.pin(job, by=request.user) if is_pinned else keeping.release(job, by=request.user)
        except Conflict as error:
            messages.error(request, str(error.detail))
        else:
            messages.success(request, "These files are kept until somebody unpins them." if is_pinned else "Released.")
    return redirect("job-results", job.pk)


def keeping_of(job: Job, reader: AnyUser) -> dict[str, Any]:
    """Return what the page says of how long the files stay."""
    row = keeping.stored_output_of(job)
    why = keeping.WHY[StoredOutput.Cause(row.cause)] if row.cause else ""
    takes = keeping.taken_by(row)
    return {"keeping": row, "keeping_takes": takes, "keeping_why": why, "may_pin": can_change(reader, job)}


def _results(job: Job, request: HttpRequest) -> dict[str, Any]:
    listing = _listing(job)
    gallery = gallery_of(listing.files, job.config)
    others = other_runs(job, request.user)
    beside = next((other for other in others if other.pk == request.GET.get("beside")), None)
    shown = shown_pictures(gallery, all_steps=request.GET.get("steps") == "all")
    request_thumbnails_of(job, gallery, shown)
    slider: dict[str, Any] = {"pictures": slider_of(job, gallery), "large": LARGE}
    first = gallery.first_in_slider
    if beside:
        slider["beside"] = slider_of(beside, gallery_of(_listing(beside).files, beside.config))
        slider["besideName"] = beside.config_name
    return {
        "job": job,
        **keeping_of(job, request.user),
        "absence": absence_of(job),
        "remote": remote_copies(job),
        "complete": listing.complete,
        "folders": folders_of(job, listing.files),
        "size": sum(file.size for file in listing.files),
        "count": len(listing.files),
        "prompts": gallery.prompts,
        "steps": by_step(job, gallery, shown),
        "all_pictures": len(gallery.pictures),
        "is_cut": len(shown) < min(len(gallery.pictures), PICTURES_IN_SLIDER),
        "slider": slider,
        "slider_first": small_address(job, first.path, LARGE) if first else "",
        "others": others,
        "beside": beside,
        "query": request.GET.urlencode(),
    }


results_page = tab_view("job-results", "dashboard/results.html", _results)


def _listing(job: Job) -> Listing:
    try:
        return listing_of(job)
    except NotFoundError:  # it was removed meanwhile
        return Listing([], complete=job.is_terminal)


def other_runs(job: Job, reader: AnyUser) -> list[Job]:
    """Return the newest other runs of the same name or of its tree, whose pictures may stand beside this one's."""
    begun = visible_jobs(reader).filter(organization=job.organization_id).exclude(external_id=None).exclude(pk=job.pk)
    others: dict[str, Job] = {}
    # One query for each, since an index answers each of them.
    for same in (Q(name_key=job.name_key), Q(root=root_of(job)), Q(pk=root_of(job))):
        rows = begun.filter(same).defer("dataloader_config", "sealed").order_by("-id")
        others |= {row.pk: row for row in rows[:OTHERS_SHOWN]}
    return [others[pk] for pk in sorted(others, reverse=True)[:OTHERS_SHOWN]]


def shown_pictures(gallery: Gallery, *, all_steps: bool) -> Sequence[Picture]:
    """Return the pictures of the newest steps, or of all steps."""
    return gallery.pictures[:PICTURES_IN_SLIDER] if all_steps else gallery.first_shown


def request_thumbnails_of(job: Job, gallery: Gallery, pictures: Sequence[Picture]) -> None:
    """Have the small copies made before the browser asks for each of them."""
    request_thumbnails(job, [picture.path for picture in pictures], SMALL)
    if first := gallery.first_in_slider:
        request_thumbnails(job, [first.path], LARGE)


def by_step(job: Job, gallery: Gallery, pictures: Iterable[Picture]) -> list[Mapping[str, Any]]:
    return [
        {
            "step": step,
            "pictures": [
                {
                    "address": file_address(job, picture.path),
                    "thumbnail": small_address(job, picture.path, SMALL),
                    "prompt": picture.prompt,
                    "text": gallery.prompts[picture.prompt],
                }
                for picture in group
            ],
        }
        for step, group in groupby(pictures, key=lambda picture: picture.step)
    ]


def slider_of(job: Job, gallery: Gallery) -> dict[str, list[tuple[int, str]]]:
    """Return the addresses of each prompt's pictures by step, the first step first."""
    found: dict[str, list[tuple[int, str]]] = {key: [] for key in gallery.prompts}
    for picture in reversed(gallery.pictures[:PICTURES_IN_SLIDER]):
        found[picture.prompt].append((picture.step, file_address(job, picture.path)))
    return found


def folders_of(job: Job, files: Sequence[OutputFile]) -> list[Folder]:
    """Return the files by the folders at the top: checkpoints newest first, then the others, then the top's own."""
    by_name: dict[str, list[OutputFile]] = {}
    for file in files:
        top, slash, _ = file.path.partition("/")
        by_name.setdefault(top if slash else "", []).append(file)
    return [_folder(job, name, by_name[name]) for name in sorted(by_name, key=_order_of)]


def _order_of(name: str) -> tuple[bool, int, str]:
    step = describe(f"{name}/-").step if name else None
    return name != "", -(step or 0), name


def _folder(job: Job, name: str, files: Sequence[OutputFile]) -> Folder:
    archive = reverse("job-outputs-zip", args=[job.pk]) + (f"?{urlencode({'path': name})}" if name else "")
    shown = [_shown(job, file, name) for file in files[:FILES_SHOWN]]
    return Folder(printable(name), shown, max(0, len(files) - FILES_SHOWN), sum(file.size for file in files), archive)


def _shown(job: Job, file: OutputFile, below: str) -> ShownFile:
    kind, step = describe(file.path)
    name = file.path.removeprefix(f"{below}/") if below else file.path
    return ShownFile(
        printable(name), file_address(job, file.path), kind.label, step, file.size, modified_at(file.modified)
    )
