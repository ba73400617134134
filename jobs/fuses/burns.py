"""What jobs with a fuse cost by now, and at their pace in all.

What a job costs by now is what was last counted and the time since then at its price, so that a provider that doesn't
answer delays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q
from django.utils import timezone

from cloudtrain_site.enterprise import config_in_force
from jobs.costs.prices import price_of
from jobs.fuses.actions import CENT, with_margin
from jobs.models import Job, ProviderConfig
from jobs.statuses import FuseAction

CHECK_SECONDS = 15.0
#: A pace that is known from less of the training says little.
MIN_PROGRESS = 5.0


@dataclass(frozen=True, slots=True)
class Burn:
    """What a job costs by now, and for each second, in US dollars."""

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
        if progress is None or progress < MIN_PROGRESS or not self.cost:
            return None
        # Its progress is as old as its last report: the time since then is no part of the pace.
        told_at, started_at = self.job.progress_told_at, self.job.started_at
        since = Decimal((timezone.now() - told_at).total_seconds()) if told_at and started_at else Decimal(0)
        then = self.cost - self.per_second * max(Decimal(0), since)
        return (max(then, Decimal(0)) * 100 / Decimal(progress)).quantize(CENT) or None

    @property
    def enough(self) -> Decimal:
        """What to ask for so that it can come to its end, as far as its pace is known."""
        return with_margin(max(self.expected or Decimal(0), self.cost, self.job.max_cost_usd or Decimal(0)))


def current_burns(now: datetime) -> list[Burn]:
    """Return what the jobs with a fuse cost by `now`."""
    is_costing = Q(started_at__isnull=False) | Q(cost_usd__gt=0)
    jobs = Job.objects.active().filter(is_costing, completed_at=None, max_cost_usd__isnull=False)
    rows = list(jobs.filter(cancel_requested_at=None).defer("config", "dataloader_config"))
    configs = ProviderConfig.of_all({job.provider for job in rows})
    return [_burn(job, configs[job.provider], now) for job in rows]


def burn_of(job: Job) -> Burn:
    """Return what `job` costs by now."""
    if job.is_terminal:
        return Burn(job, job.cost_usd, Decimal(0))
    return _burn(job, ProviderConfig.of(job.provider), timezone.now())


def _burn(job: Job, config: ProviderConfig, now: datetime) -> Burn:
    price = price_of(config, job.hardware_profile, job.started_at or now)
    per_second = price.per_second if price else Decimal(0)
    counted = max(filter(None, (job.started_at, job.last_synced_at)), default=now)
    since = max(timedelta(), now - counted) if job.started_at else timedelta()
    return Burn(job, job.cost_usd + per_second * Decimal(since.total_seconds()), per_second)


def asks(job: Job) -> bool:
    """Whether more is asked for when the job reaches its fuse, instead of cancelling it."""
    return (job.fuse_action or config_in_force().fuses.action) == FuseAction.ASK


def last_limit(job: Job) -> Decimal | None:
    """Return at what cost, in US dollars, the job is cancelled in any case; None: it has no limit."""
    if job.max_cost_usd is None or not asks(job):
        return job.max_cost_usd
    percent = job.fuse_grace_percent
    percent = config_in_force().fuses.grace_percent if percent is None else percent
    return (job.max_cost_usd * (100 + percent) / 100).quantize(CENT)
