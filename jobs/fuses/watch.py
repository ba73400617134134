"""The loop that sees to the fuses: a warning at 80 %; at 100 % the end, or a question and the end beyond a grace.

It looks every CHECK_SECONDS, on any machine, also while a provider doesn't answer. A job is cancelled when it would
reach its limit before the next look: it exceeds the limit by no more than it costs until its provider has stopped it.
"""

from __future__ import annotations

from decimal import Decimal

from django.utils import timezone

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.notices import outbox
from cloudtrain_site.states import Actor, Source
from jobs import extensions, lifecycle
from jobs.fuses.burns import Burn, asks, current_burns, last_limit
from jobs.models import Job

WARNING = "job_cost_warning"
WARN_FROM = Decimal("0.8")
FUSE = Actor(name="fuse")


def check_fuses() -> dict[str, int]:
    """Look at every job with a fuse once: warn, ask, and cancel. Any number of processes may do it at once."""
    burns = current_burns(timezone.now())
    return {
        "warned": sum(map(_warn, burns)),
        "asked": sum(map(_ask, burns)),
        "cancelled": sum(map(_cancel, burns)),
    }


def _warn(burn: Burn) -> bool:
    job, limit = burn.job, burn.job.max_cost_usd or Decimal(0)
    if burn.cost < limit * WARN_FROM:
        return False
    with unit_of_work():
        unwarned = Job.objects.active().filter(pk=job.pk, cost_warned_at=None, max_cost_usd=limit)
        if not unwarned.update(cost_warned_at=timezone.now()):
            return False
        _tell(burn, warning_of(burn), "warning")
    return True


def _tell(burn: Burn, message: str, occasion: str) -> None:
    """Put `message` into the history, and send it to who shows the job and to its submitter."""
    job, limit = burn.job, burn.job.max_cost_usd or Decimal(0)
    job.record_note(FUSE, Source.LOOP, message)
    data = {"job_id": job.pk, "cost_usd": float(burn.cost), "max_cost_usd": float(limit), "message": message}
    publish(Event(WARNING, job.channel, data))
    people = [job.submitted_by_id] if job.submitted_by_id is not None else []
    outbox.store(
        WARNING,
        key=f"{WARNING}:{job.pk}:{limit:f}:{occasion}",
        subject=f"{job.config_name}: {message}",
        audience=outbox.Audience(users=people, organization_id=job.organization_id),
        link=f"/jobs/{job.pk}",
        job_id=job.pk,
        data=data,
    )


def warning_of(burn: Burn) -> str:
    """Return the sentence of the warning."""
    text = f"It has cost ${burn.cost:.2f} of ${burn.job.max_cost_usd:.2f}."
    expected = burn.expected
    return f"{text} At this pace it will cost ${expected:.2f}." if expected else text


def _is_at(burn: Burn, limit: Decimal | None) -> bool:
    return limit is not None and bool(burn.cost) and burn.at_next_look >= limit


def _ask(burn: Burn) -> bool:
    """Ask for more, once for each limit: those who approved it, or its submitter where nobody had to."""
    job = burn.job
    if not (asks(job) and _is_at(burn, job.max_cost_usd)) or _is_at(burn, last_limit(job)):
        return False
    with unit_of_work():
        unasked = Job.objects.active().filter(pk=job.pk, fuse_asked_at=None, max_cost_usd=job.max_cost_usd)
        if not unasked.filter(cancel_requested_at=None).update(fuse_asked_at=timezone.now()):
            return False
        amount, reason = burn.enough, warning_of(burn)
        others = _asks_others(job, amount, reason)
        until = f"The job continues until ${last_limit(job):.2f}, then it is cancelled."
        whom = f"The reviewers are asked for ${amount:.2f}." if others else "You can raise the limit until then."
        _tell(burn, f"{reason} {until} {whom}", "asked")
    return True


def _asks_others(job: Job, amount: Decimal, reason: str) -> bool:
    """Ask those who approved the job. True: they are asked now, or were before."""
    limits = extensions.fuse_limits.values()
    try:
        return any(limit.ask(job, amount, actor=FUSE, source=Source.LOOP, reason=reason) for limit in limits)
    except Conflict:
        return True


def _cancel(burn: Burn) -> bool:
    job, limit = burn.job, burn.job.max_cost_usd
    if limit is None or not _is_at(burn, last_limit(job)):
        return False
    reason = f"it has cost ${burn.cost:.2f} of its ${limit:.2f} limit"
    with unit_of_work():
        # Of this and a raise the first wins: who raises it locks the row too, and finds it being cancelled.
        still = Job.objects.active().filter(pk=job.pk, max_cost_usd=limit, cancel_requested_at=None)
        if still.select_for_update(no_key=True).first() is None:
            return False
        return lifecycle.request_cancel(job, actor=FUSE, source=Source.LOOP, reason=reason)
