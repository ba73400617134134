"""The rows of jobs about a person, for their export, and where this room's tables have people's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User

from cloudtrain_site import extensions as site
from cloudtrain_site.extensions import NamedIn
from jobs.models import DatasetUpload, Job, JobEvent, Membership, SavedView, TrainingConfig

Rows = Iterable[Mapping[str, Any]]
CHUNK = 500


def memberships(user: User) -> Rows:
    yield from Membership.objects.filter(user=user).values("organization__name", "role", "joined_at")


def jobs(user: User) -> Rows:
    columns = (
        *("id", "organization__name", "provider", "config_name", "hardware_profile", "status"),
        *("created_at", "started_at", "completed_at", "cost_usd", "error_message", "deleted_at"),
    )
    yield from Job.objects.filter(submitted_by=user).order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def changes_of_jobs(user: User) -> Rows:
    columns = ("at", "job_id", "subject", "old", "new", "source", "reason")
    yield from JobEvent.objects.filter(actor_user=user).order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def configs(user: User) -> Rows:
    yield from TrainingConfig.objects.filter(updated_by=user).values("organization__name", "name", "updated_at")


def uploads(user: User) -> Rows:
    columns = ("organization__name", "name", "size", "created_at", "last_used_at", "removed_at")
    yield from DatasetUpload.objects.filter(uploaded_by=user).order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def saved_views(user: User) -> Rows:
    yield from SavedView.objects.filter(owner=user).values("name", "organization__name", "query", "created_at")


def register_people() -> None:
    """Register them. To be called once, when all apps are loaded."""
    for rows in (memberships, jobs, changes_of_jobs, configs, uploads, saved_views):
        site.personal_data.register(rows.__name__, rows)
    for place in (
        NamedIn("jobs.Job", names=("cancel_requested_by",), sentences=("error_message",)),
        NamedIn("jobs.JobEvent", names=("actor",), sentences=("reason",)),
        NamedIn("jobs.LedgerEntry", names=("by",), sentences=("reason",)),
        NamedIn("jobs.DatedPrice", names=("by",), sentences=("reason",)),
        NamedIn("jobs.StoredOutput", names=("pinned_by",)),
        NamedIn("jobs.Invitation", names=("email",)),
    ):
        site.named_in.register(place.model, place)
