"""The fuse of a job: what it may cost at most, set, raised and lowered. What happens at it: `watch.py`."""

from __future__ import annotations

from decimal import Decimal

from cloudtrain_site.audit.origin import current_source
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor
from jobs import extensions, signals
from jobs.fuses.burns import burn_of
from jobs.models import Job
from jobs.permissions import AnyUser
from jobs.statuses import FuseAction


def set_fuse(job: Job, amount: Decimal, *, by: AnyUser, source: str = "") -> bool:
    """Let `job` cost at most `amount` US dollars. Returns whether that changed anything.

    `source` is that of the current work unless it says otherwise.
    Raises Conflict for a job that has ended or is being cancelled, and for an amount that it has cost already or that
    is more than was approved.
    """
    with unit_of_work():
        # What was approved is locked before the job, as by who decides.
        approved = [limit.lock(job, by) for limit in extensions.fuse_limits.values()]
        current = lock_for_fuse(job, amount)
        for limit in approved:
            if limit is not None and amount > limit:
                raise Conflict(
                    f"Only ${limit:.2f} is approved. Ask a reviewer for more, or let one raise it.",
                    code="more_than_approved",
                )
        if not change_fuse(current, amount, actor=Actor.of(by), source=source or current_source()):
            return False
    job.max_cost_usd, job.cost_warned_at, job.fuse_asked_at = amount, None, None
    return True


def lock_for_fuse(job: Job, amount: Decimal) -> Job:
    """Return the job as it is now, locked until the transaction ends; it may cost `amount`.

    Raises Conflict for a job that has ended or is being cancelled, and for an amount that it has cost already.
    """
    current = Job.objects.select_for_update(no_key=True).filter(pk=job.pk).first()
    if current is None or current.is_terminal:
        raise Conflict("The job has ended. Its limit can't be changed.", code="ended")
    if current.cancel_requested_at is not None:
        raise Conflict(
            f"{current.cancel_requested_by} is cancelling the job. Its limit can't be changed any more.",
            code="being_cancelled",
        )
    cost = burn_of(current).cost
    if cost >= amount:
        raise Conflict(
            f"The job has already cost ${cost:.2f}. Enter a higher limit, or cancel the job.",
            code="spent_already",
        )
    return current


def change_fuse(job: Job, amount: Decimal, *, actor: Actor, source: str) -> bool:
    """Set the fuse of a job that `lock_for_fuse` returned, with history and audit record. False: it is so already."""
    before = job.max_cost_usd
    if before == amount:
        return False
    _write(job, amount)
    job.record_note(actor, source, f"cost limit set to ${amount:.2f}")
    record(
        "job_fuse_set",
        job,
        by=actor,
        organization=job.organization,
        before={"max_cost_usd": None if before is None else float(before)},
        after={"max_cost_usd": float(amount)},
    )
    return True


def _write(job: Job, amount: Decimal) -> None:
    fields = {"max_cost_usd": amount, "cost_warned_at": None, "fuse_asked_at": None}
    Job.objects.filter(pk=job.pk).update(**fields)
    for name, value in fields.items():
        setattr(job, name, value)
    signals.job_fuse_set.send(sender=Job, job=job)


def lower_fuse(job: Job, amount: Decimal) -> None:
    """Let `job` cost at most `amount`, unless it may cost less already. In the transaction of who decides so."""
    if job.max_cost_usd is None or amount < job.max_cost_usd:
        _write(job, amount)


def refuse_raise(job: Job, *, actor: Actor, source: str, reason: str) -> None:
    """Have `job` cancelled at its fuse, without a grace: it gets no more. In the transaction of who decides so."""
    if Job.objects.active().filter(pk=job.pk).update(fuse_action=FuseAction.CANCEL):
        job.fuse_action = FuseAction.CANCEL
        job.record_note(actor, source, f"may not cost more: {reason}" if reason else "may not cost more")


def ask_for_more(job: Job, amount: Decimal, *, by: AnyUser, reason: str = "") -> bool:
    """Ask those who approved `job` to let it cost `amount` US dollars. False: nobody need be asked, and nobody was.

    Raises Conflict as `set_fuse`, and where more is asked for already.
    """
    with unit_of_work():
        for limit in extensions.fuse_limits.values():
            limit.lock(job, by)
        current = lock_for_fuse(job, amount)
        return any(
            limit.ask(current, amount, actor=Actor.of(by), source=current_source(), reason=reason)
            for limit in extensions.fuse_limits.values()
        )
