"""What a job may cost by its approval, and requests to raise that while it runs."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import QuerySet

from approvals.creation import create_raise
from approvals.models import ApprovalRequest
from approvals.reviewers import reviews_alone
from approvals.statuses import RequestStatus
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor
from jobs.fuses.actions import with_margin
from jobs.fuses.fuse import change_fuse, lock_for_fuse
from jobs.models import Job
from jobs.permissions import AnyUser

#: A request under which the job may cost something, or would.
STANDING = (RequestStatus.PENDING, RequestStatus.APPROVED)


def approved_up_to(job: Job) -> Decimal | None:
    """Return what the job may cost by its approval; None: any amount, or it has none."""
    approved = requests_to_run(job).filter(status=RequestStatus.APPROVED).values_list("up_to_usd", flat=True)
    return approved.last()


def approved_cost(job: Job, user: AnyUser) -> Decimal | None:
    """Return how much the job may cost at most unless somebody else than `user` approves more; None: any amount."""
    request = requests_to_run(job).last()
    if request is None or request.up_to_usd is None or reviews_alone(user, request):
        return None
    return request.up_to_usd


def locked_cost(job: Job, user: AnyUser) -> Decimal | None:
    """As `approved_cost`. The requests about the job are locked until the transaction ends."""
    # Those who decide lock a request before its job too.
    list(ApprovalRequest.objects.filter(job=job, status__in=STANDING).order_by("id").select_for_update().only("pk"))
    return approved_cost(job, user)


def requests_to_run(job: Job) -> QuerySet[ApprovalRequest]:
    """Return the open or approved requests to let `job` run, the newest last."""
    return ApprovalRequest.objects.filter(job=job, status__in=STANDING, raise_to_usd=None).order_by("id")


def ask(job: Job, amount: Decimal, *, actor: Actor, source: str, reason: str) -> bool:
    """Ask those who approved `job` to let it cost `amount`. See `jobs.extensions.Ask`."""
    approved = requests_to_run(job).filter(status=RequestStatus.APPROVED).last()
    if approved is None or approved.up_to_usd is None or amount <= approved.up_to_usd:
        return False
    if ApprovalRequest.objects.filter(job=job, status=RequestStatus.PENDING).exists():
        raise Conflict("A request for a higher cost is already pending.", code="asked_already")
    text = reason or f"Approved up to ${approved.up_to_usd:.2f}."
    create_raise(approved, job, amount, reason=text, actor=actor, source=source)
    return True


def grant(request: ApprovalRequest, *, actor: Actor, source: str) -> None:
    """Let the job cost what was asked for, or the lower amount that the reviewers named, in their transaction.

    Raises Conflict when the job has ended, is being cancelled, or has cost that much already.
    """
    assert request.raise_to_usd is not None
    amount = request.raise_to_usd if request.up_to_usd is None else request.up_to_usd
    job = lock_for_fuse(request.job, amount)
    if job.max_cost_usd is None or amount <= job.max_cost_usd:
        may = "any amount" if job.max_cost_usd is None else f"${job.max_cost_usd:.2f}"
        raise Conflict(f"The job may already cost {may}. Enter more, or reject the request.", code="no_raise")
    change_fuse(job, amount, actor=actor, source=source)


def follow_fuse(job: Job) -> list[ApprovalRequest]:
    """Let the approval say what its job may cost by now: who raised it may approve that.

    Returns the pending requests for no more than it may cost already.
    """
    if job.max_cost_usd is None:
        return []
    requests_to_run(job).filter(up_to_usd__lt=job.max_cost_usd).update(up_to_usd=job.max_cost_usd)
    return list(
        ApprovalRequest.objects.filter(
            job=job, status=RequestStatus.PENDING, raise_to_usd__lte=job.max_cost_usd
        ).select_related("job")
    )


def proposed_up_to(request: ApprovalRequest) -> Decimal | None:
    """Return the amount that a form of a decision begins with, in US dollars; None: nothing is known of the cost.

    That is a quarter more than the estimate, or less where the request is for less; of a raise, what it asks for.
    """
    if request.raise_to_usd is not None:
        return request.raise_to_usd
    estimate = request.job.estimated_cost_usd
    amounts = [with_margin(estimate) if estimate else None, request.up_to_usd]
    return min((amount for amount in amounts if amount is not None), default=None)
