"""The panel of a job's cost on its page: its pace, its limit, and a button to change that."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from jobs import extensions
from jobs.fuses.actions import with_margin
from jobs.fuses.burns import Burn, asks, burn_of, last_limit
from jobs.models import Job
from jobs.permissions import AnyUser, can_change


def panel_for(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the panel's data for a job that may cost something; None: for one that doesn't, or has ended."""
    burn = burn_of(job)
    costs_something = job.max_cost_usd is not None or burn.cost > 0 or bool(job.estimated_cost_usd)
    if job.is_terminal or not costs_something:
        return None
    approved = approved_cost(job)
    return {
        "cost": burn.cost,
        "limit": job.max_cost_usd,
        "percent": _percent(burn),
        "pace": pace_sentence(burn, approved),
        "is_beyond": job.max_cost_usd is not None and (burn.expected or Decimal(0)) > job.max_cost_usd,
        "end": _end_sentence(job),
        "is_asked": job.fuse_asked_at is not None,
        "may_change": job.cancel_requested_at is None and can_change(reader, job),
        "free": _free(job, reader),
        "proposed": _proposed(burn),
    }


def approved_cost(job: Job) -> Decimal | None:
    """Return what the job may cost by its approval, in US dollars; None: that says nothing of it."""
    return _lowest(limit.approved(job) for limit in extensions.fuse_limits.values())


def _free(job: Job, reader: AnyUser) -> Decimal | None:
    """Return up to which limit the reader need ask nobody; None: up to any."""
    return _lowest(limit.of(job, reader) for limit in extensions.fuse_limits.values())


def _lowest(amounts: Any) -> Decimal | None:
    return min((amount for amount in amounts if amount is not None), default=None)


def _percent(burn: Burn) -> int | None:
    limit = burn.job.max_cost_usd
    return None if not limit else min(100, int(burn.cost * 100 / limit))


def pace_sentence(burn: Burn, approved: Decimal | None) -> str:
    """Return what the job will cost at its pace, and what it may; without a pace, what it may."""
    job, limit = burn.job, burn.job.max_cost_usd
    may = f"approved up to ${approved:,.2f}" if approved is not None else ""
    if limit is not None and limit != approved:
        may = f"{may}, limited to ${limit:,.2f}" if may else f"limited to ${limit:,.2f}"
    if burn.expected:
        return f"About ${burn.expected:,.2f} at this pace{f', {may}' if may else ', without a limit'}."
    if job.started_at is not None:
        return f"The pace is not known yet{f', {may}' if may else ', and it has no limit'}."
    return f"{may[:1].upper()}{may[1:]}." if may else "No limit."


def _end_sentence(job: Job) -> str:
    """Return what happens when it has cost what it may; empty: it has no limit."""
    if job.max_cost_usd is None:
        return ""
    last = last_limit(job)
    if not asks(job):
        return f"The job is cancelled at ${last:,.2f}."
    return f"At ${job.max_cost_usd:,.2f} a higher limit is requested; the job is cancelled at ${last:,.2f}."


def _proposed(burn: Burn) -> Decimal:
    """Return the amount that the question begins with."""
    if burn.cost or burn.job.max_cost_usd is not None:
        return burn.enough
    return with_margin(burn.job.estimated_cost_usd or Decimal(0))
