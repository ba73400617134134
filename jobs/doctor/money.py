"""The checks of prices and of the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from statistics import median

from django.utils import timezone

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.findings import Finding, bad, ok, warn
from jobs.costs.prices import rate_of
from jobs.costs.verification import verify
from jobs.doctor.asking import enabled_providers, is_used
from jobs.models import Job, JobAccount, ProviderConfig
from jobs.providers.base import Provider
from jobs.statuses import JobStatus

OLDEST_PRICE = timedelta(days=90)
#: Estimates are judged by this many of the latest jobs, and not by fewer than ENOUGH.
LATEST, ENOUGH = 20, 10
#: So begins the source of an estimate that earlier runs gave. The operator's own figure is a guess from the start.
FROM_RUNS = "from "
#: These ratios of cost to estimate are suspicious. Estimates are the upper end of what is likely.
TOO_LOW, TOO_HIGH = 1.5, 0.1
#: A check may take five seconds.
VERIFY_SECONDS = 3.0
SHOWN = 5


def prices() -> Iterator[Finding]:
    """Check that what may cost something has a price, that prices are no older than 90 days, and estimates right."""
    used = {config: provider for config, provider in enabled_providers().items() if is_used(provider)}
    for config, provider in used.items():
        yield from _prices_of(config, provider)
    latest = Job.objects.filter(
        status=JobStatus.COMPLETED, cost_usd__gt=0, estimated_cost_usd__gt=0, estimate_source__startswith=FROM_RUNS
    )
    pairs = list(latest.order_by("-pk").values_list("cost_usd", "estimated_cost_usd")[:LATEST])
    if len(pairs) >= ENOUGH:
        ratio = median(float(cost / estimate) for cost, estimate in pairs if estimate)
        if not TOO_HIGH <= ratio <= TOO_LOW:
            yield warn(
                f"The last {len(pairs)} jobs cost {ratio:.2f} times their estimates: rules and budgets rely on these.",
                "Compare cost_per_second with the provider's invoice, in the admin: Provider configs",
            )
    yield ok(f"{len(used)} provider{'s' if len(used) != 1 else ''} in use.")


def _prices_of(config: ProviderConfig, provider: Provider) -> Iterator[Finding]:
    setting = f"cost_per_second of {config.name}, in the admin (Provider configs) or simpletuner-enterprise.yaml"
    without = [profile for profile in provider.hardware() if rate_of(config, profile) is None]
    if without:
        has = "has" if len(without) == 1 else "have"
        yield warn(f"{config.name}: {', '.join(without)} {has} no price: budgets can't count its cost.", setting)
    costs_something = any(rate_of(config, profile) for profile in config.cost_per_second)
    if costs_something and config.prices_as_of and timezone.now().date() - config.prices_as_of > OLDEST_PRICE:
        yield warn(f"The prices of {config.name} were last looked up on {config.prices_as_of}.", setting)


def ledger() -> Iterator[Finding]:
    """Check that the ledger agrees with itself and with the jobs, as far as three seconds lead."""
    mend = f"{COMMAND} ledger --verify"
    negative = list(JobAccount.objects.filter(held__lt=0).values_list("job_id", flat=True)[:SHOWN])
    if negative:
        yield bad(f"A negative amount is reserved for {', '.join(negative)}.", mend)
    outcome = verify(until=time.monotonic() + VERIFY_SECONDS)
    for difference in outcome.differences[:SHOWN]:
        yield bad(str(difference), mend)
    if len(outcome.differences) > SHOWN:
        yield bad(f"{len(outcome.differences) - SHOWN} more differences.", mend)
    rest = "" if outcome.is_complete else f"; {mend} compares all"
    yield ok(f"{outcome.jobs:,} jobs with {outcome.entries:,} entries were compared{rest}.")
