"""The requests and decisions of a person, for their export, and where this room's tables have people's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User

from approvals.models import ApprovalRequest, Decision
from cloudtrain_site import extensions as site

Rows = Iterable[Mapping[str, Any]]
CHUNK = 500


def requests(user: User) -> Rows:
    columns = ("id", "job_id", "status", "reason", "requested_at", "reviewed_by", "reviewed_at", "review_notes")
    own = ApprovalRequest.objects.filter(requested_by=user)
    yield from own.order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def decisions(user: User) -> Rows:
    columns = ("request_id", "verdict", "reason", "source")
    yield from Decision.objects.filter(user=user).order_by("pk").values(*columns).iterator(chunk_size=CHUNK)


def register_people() -> None:
    """Register them. To be called once, when all apps are loaded."""
    for rows in (requests, decisions):
        site.personal_data.register(rows.__name__, rows)
    for place in (
        site.NamedIn("approvals.ApprovalRequest", names=("reviewed_by",), sentences=("reason", "review_notes")),
        site.NamedIn("approvals.Requirement", sentences=("reason",)),
        site.NamedIn("approvals.Decision", names=("name",), sentences=("reason",)),
    ):
        site.named_in.register(place.model, place)
    site.kept_of_person.register("approvals.ApprovalRequest.requested_by", "approval requests")
