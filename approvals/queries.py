"""The approval requests that a user may see or decide, and their changes of the config."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import Http404
from django.urls import reverse

from approvals.models import ApprovalRequest
from approvals.reviewers import WITH_REQUIREMENTS, reviewed_by, reviewed_in
from approvals.statuses import RequestStatus
from cloudtrain_site.redaction import mask_secrets
from jobs.models import Job
from jobs.permissions import AnyUser, Team, is_superuser, organizations_of, teams_of
from jobs.roles import MANAGERS, Role

#: The time left in which a request is urgent.
URGENT_WITHIN = timedelta(hours=1)


def visible_requests(user: AnyUser, teams: Sequence[Team] | None = None) -> QuerySet[ApprovalRequest]:
    """Return the requests about jobs that `user` may see, newest first; `teams` as in `listed_jobs_of`."""
    requests = ApprovalRequest.objects.filter(job__deleted_at=None)
    requests = requests.select_related("job", "requested_by").prefetch_related(WITH_REQUIREMENTS)
    if not is_superuser(user):
        requests = requests.filter(_of_organizations(user, teams))
    return requests.order_by("-id")


def _of_organizations(user: AnyUser, teams: Sequence[Team] | None, roles: tuple[Role, ...] | None = None) -> Q:
    """Return the condition for requests of the organizations in which `user` has one of `roles` (None: any).

    By the organizations' own numbers PostgreSQL walks requests in their order, and SQLite would sort all of theirs.
    """
    if connection.vendor == "sqlite":
        return Q(organization__in=organizations_of(user, roles))
    own = teams_of(user) if teams is None else teams
    return Q(organization__in=[team.id for team in own if roles is None or team.role in roles])


def find_request(user: AnyUser, request_id: int) -> ApprovalRequest:
    """Return the request with that id. Raises Http404 when there is none that `user` may see."""
    request = visible_requests(user).filter(pk=request_id).first()
    if request is None:
        raise Http404
    return request


def managed_or_reviewed_by(user: AnyUser, teams: Sequence[Team]) -> Q:
    """Return the condition for requests of organizations that `user`, who is in `teams`, manages, or reviews."""
    if is_superuser(user):
        return Q()
    return _of_organizations(user, teams, MANAGERS) | reviewed_by(user, teams)


def concerns(user: AnyUser, teams: Sequence[Team]) -> Q:
    """Return the condition for requests that `user`, who is in `teams`, made, manages or reviews."""
    condition = managed_or_reviewed_by(user, teams)
    # A superuser's is empty: it lets every request through.
    return condition | Q(requested_by=user.pk) if condition else condition


def concerning_in(team: Team, requests: QuerySet[ApprovalRequest], user: AnyUser) -> list[QuerySet[ApprovalRequest]]:
    """Return the requests of an organization that concern `user`, a part for each index that finds some of them."""
    theirs = requests.filter(organization=team.id)
    if team.role in MANAGERS:
        return [theirs]
    return [theirs.filter(requested_by=user.pk), theirs.filter(reviewed_in(user, team))]


def changes_of(requests: Sequence[ApprovalRequest]) -> dict[int, dict[str, Any] | None]:
    """Return by id what differs from the requester's last approved config: old and new value, by key, in two queries.

    None: nothing of theirs was approved before. Secrets are masked.
    """
    earlier = _last_approved(requests)
    configs = dict(Job.objects.filter(pk__in=earlier.values()).values_list("pk", "config"))
    return {
        request.pk: _changed(configs[earlier[request.pk]], request.job.config) if request.pk in earlier else None
        for request in requests
    }


def _last_approved(requests: Sequence[ApprovalRequest]) -> dict[int, str]:
    """Return, by request, the job of the last approved request of the same requester and organization before it."""
    # The subquery is one search in an index, however many requests were ever approved.
    approved = ApprovalRequest.objects.filter(
        status=RequestStatus.APPROVED,
        requested_by=OuterRef("requested_by"),
        organization=OuterRef("organization"),
        pk__lt=OuterRef("pk"),
    )
    jobs = ApprovalRequest.objects.filter(pk__in=[request.pk for request in requests]).values_list(
        "pk", Subquery(approved.order_by("-id").values("job_id")[:1])
    )
    return {pk: job_id for pk, job_id in jobs if job_id is not None}


def _changed(before: Any, after: Any) -> dict[str, Any]:
    # Most of a config is as it was, and to mask all of it took a tenth of a page of fifty requests.
    differing = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    old, new = (mask_secrets({key: one[key] for key in differing if key in one}) for one in (before, after))
    return {
        key: {"old": old.get(key), "new": new.get(key)}
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


def request_address(request: ApprovalRequest) -> str:
    """Return the address of the request on the approvals page, which shows it however far down it is."""
    return f"{reverse('approvals-page')}#request-{request.pk}"


def admin_address(request: ApprovalRequest) -> str:
    return reverse("admin:approvals_approvalrequest_change", args=[request.pk])
