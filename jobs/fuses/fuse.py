"""The fuse of a job: what it may cost at most. It is warned of at 80 %, and cancelled before it costs more.

The loop looks every CHECK_SECONDS, on any machine, also while a provider doesn't answer: what a job costs by now is
what was last counted and the time since then at its price. A job is cancelled when it would reach the fuse before the
next look, so it exceeds its fuse by no more than it costs until its provider has stopped it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.notices import outbox
from cloudtrain_site.states import Actor, Source
from jobs import extensions, lifecycle, signals
from jobs.costs.prices import price_of
from jobs.models import Job, ProviderConfig
from jobs.permissions import AnyUser

CHECK_SECONDS = 15.0
WARNING = "job_cost_warning"
WARN_FROM = Decimal("0.8")
FUSE = Actor(name="fuse")
#: A pace that is known from less of the training says little.
MIN_PROGRESS = 5.0
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Burn:
    """What a job with a fuse costs by now, and for each second, in US dollars."""

    job: Job
    cost: Decimal
    per_second: Decimal

    @property
    def at_next_look(self) -> Decimal:
        return self.cost + self.per_second * Decimal(CHECK_SECONDS)

    @property
    def expected(self) -> Decimal | None:
        """What it will cost at its pace; None: its pace is not known yet."""
        progress = self.job.progress
        if progress is None or progress < MIN_PROGRESS:
            return None
        return (self.cost * 100 / Decimal(progress)).quantize(CENT)


def set_fuse(job: Job, amount: Decimal, *, by: AnyUser) -> bool:
    """Let `job` cost at most `amount` US dollars. Returns whether that changed anything.

    Raises Conflict for a job that has ended, and for an amount that it has cost already or that is more than was
    approved.
    """
    with unit_of_work():
        current = Job.objects.select_for_update(no_key=True).filter(pk=job.pk).first()
        if current is None or current.is_terminal:
            raise Conflict("The job has ended: what it costs can't be limited any more.", code="ended")
        if amount <= current.cost_usd and current.cost_usd > 0:
            raise Conflict(
                f"It has cost ${current.cost_usd:.2f} already: name more than that, or cancel it.", code="spent_already"
            )
        _check_approved(current, amount, by)
        if current.max_cost_usd == amount:
            return False
        before = current.max_cost_usd
        _write(current, amount)
        actor = Actor.of(by)
        current.record_note(actor, Source.API, f"may cost ${amount:.2f} at most")
        record(
            "job_fuse_set",
            current,
            by=actor,
            organization=current.organization,
            before={"max_cost_usd": None if before is None else float(before)},
            after={"max_cost_usd": float(amount)},
        )
    job.max_cost_usd, job.cost_warned_at = amount, None
    return True


def _check_approved(job: Job, amount: Decimal, by: AnyUser) -> None:
    for limit in extensions.fuse_limits.values():
        approved = limit(job, by)
        if approved is not None and amount > approved:
            raise Conflict(
                f"${approved:.2f} at most were approved: who may approve it may raise that.", code="more_than_approved"
            )


def _write(job: Job, amount: Decimal) -> None:
    Job.objects.filter(pk=job.pk).update(max_cost_usd=amount, cost_warned_at=None)
    job.max_cost_usd = amount
    signals.job_fuse_set.send(sender=Job, job=job)


def lower_fuse(job: Job, amount: Decimal) -> None:
    """Let `job` cost at most `amount`, unless it may cost less already. In the transaction of who decides so."""
    if job.max_cost_usd is None or amount < job.max_cost_usd:
        _write(job, amount)


def check_fuses() -> dict[str, int]:
    """Look at every job with a fuse once: warn, and cancel. Any number of processes may do it at once."""
    burns = current_burns(timezone.now())
    return {
        "warned": sum(map(_warn, burns)),
        "cancelled": sum(map(_cancel, burns)),
    }


def current_burns(now: datetime) -> list[Burn]:
    """Return what the jobs with a fuse cost by `now`."""
    is_costing = Q(started_at__isnull=False) | Q(cost_usd__gt=0)
    jobs = Job.objects.active().filter(is_costing, completed_at=None, max_cost_usd__isnull=False)
    rows = list(jobs.filter(cancel_requested_at=None).defer("config", "dataloader_config"))
    configs = ProviderConfig.of_all({job.provider for job in rows})
    return [_burn(job, configs[job.provider], now) for job in rows]


def _burn(job: Job, config: ProviderConfig, now: datetime) -> Burn:
    price = price_of(config, job.hardware_profile, job.started_at or now)
    per_second = price.per_second if price else Decimal(0)
    counted = max(filter(None, (job.started_at, job.last_synced_at)), default=now)
    since = max(timedelta(), now - counted) if job.started_at else timedelta()
    return Burn(job, job.cost_usd + per_second * Decimal(since.total_seconds()), per_second)


def _warn(burn: Burn) -> bool:
    job = burn.job
    limit = job.max_cost_usd or Decimal(0)
    if burn.cost < limit * WARN_FROM:
        return False
    with unit_of_work():
        unwarned = Job.objects.active().filter(pk=job.pk, cost_warned_at=None, max_cost_usd=limit)
        if not unwarned.update(cost_warned_at=timezone.now()):
            return False
        message = warning_of(burn)
        job.record_note(FUSE, Source.LOOP, message)
        data = {"job_id": job.pk, "cost_usd": float(burn.cost), "max_cost_usd": float(limit), "message": message}
        publish(Event(WARNING, job.channel, data))
        outbox.store(
            WARNING,
            key=f"{WARNING}:{job.pk}:{limit:f}",
            subject=f"{job.config_name}: {message}",
            audience=outbox.Audience(users=_people(job), organization_id=job.organization_id),
            link=f"/jobs/{job.pk}",
            job_id=job.pk,
            data=data,
        )
    return True


def _people(job: Job) -> Sequence[int]:
    return [job.submitted_by_id] if job.submitted_by_id is not None else []


def warning_of(burn: Burn) -> str:
    """Return what is said at 80 %."""
    text = f"It has cost ${burn.cost:.2f} of ${burn.job.max_cost_usd:.2f}."
    expected = burn.expected
    return f"{text} At this pace it will cost ${expected:.2f}." if expected else text


def _cancel(burn: Burn) -> bool:
    job = burn.job
    limit = job.max_cost_usd
    if limit is None or burn.at_next_look < limit or not burn.cost:
        return False
    # Somebody may have raised it since it was read.
    if not Job.objects.active().filter(pk=job.pk, max_cost_usd=limit, cancel_requested_at=None).exists():
        return False
    reason = f"it has cost ${burn.cost:.2f}, and may cost ${limit:.2f} at most"
    return lifecycle.request_cancel(job, actor=FUSE, source=Source.LOOP, reason=reason)
