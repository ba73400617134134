"""The budgets and what is spent and held, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Q, Sum
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric

from jobs.costs.metrics import counted_jobs
from jobs.models import DayCost, JobAccount, Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of
from queueing.budgets.editing import visible_budgets
from queueing.budgets.sums import states

LABELS = ["organization", "provider"]


def collect(user: AnyUser) -> Iterator[Metric]:
    """Yield spent, held and burn rate by organization and provider, and the budgets, as far as `user` may see them."""
    seen = Q() if is_superuser(user) else Q(organization__in=organizations_of(user))
    names = dict(Organization.objects.values_list("pk", "name"))
    month = timezone.now().date().replace(day=1)
    spent = GaugeMetricFamily("cloudtrain_spent_usd", "Spent in this month (UTC), in US dollars.", labels=LABELS)
    days = DayCost.objects.filter(seen, day__gte=month).order_by().values_list("organization_id", "provider")
    for organization, provider, amount in days.annotate(Sum("spent")):
        spent.add_metric([names.get(organization, ""), provider], float(amount))
    yield spent
    held = GaugeMetricFamily("cloudtrain_held_usd", "Reserved for jobs that the queue has claimed.", labels=LABELS)
    accounts = JobAccount.objects.filter(seen, held__gt=0).order_by().values_list("organization_id", "provider")
    for organization, provider, amount in accounts.annotate(Sum("held")):
        held.add_metric([names.get(organization, ""), provider], float(amount))
    yield held
    yield from _budgets(user)
    yield _burn_rate(user, names)


def _budgets(user: AnyUser) -> Iterator[Metric]:
    labels = ["scope", "organization", "user", "period"]
    amounts = GaugeMetricFamily("cloudtrain_budget_usd", "The amount of each budget.", labels=labels)
    committed = GaugeMetricFamily(
        "cloudtrain_budget_committed_usd", "Spent and reserved of each budget.", labels=labels
    )
    for state in states(visible_budgets(user)):
        budget = state.budget
        owner = budget.organization.name if budget.organization else ""
        person = budget.user.get_username() if budget.user else ""
        amounts.add_metric([budget.scope, owner, person, budget.period], float(budget.amount))
        committed.add_metric([budget.scope, owner, person, budget.period], float(state.committed))
    yield from (amounts, committed)


def _burn_rate(user: AnyUser, names: dict[int, str]) -> Metric:
    """Return what running jobs cost an hour: what they have cost by the time that they have run."""
    rates = GaugeMetricFamily("cloudtrain_burn_usd_per_hour", "What running jobs cost per hour.", labels=LABELS)
    now, sums = timezone.now(), dict[tuple[int | None, str], float]()
    running = counted_jobs(user).filter(completed_at=None, started_at__lt=now - timedelta(seconds=1), cost_usd__gt=0)
    for job in running.only("organization_id", "provider", "cost_usd", "started_at"):
        seconds = (now - (job.started_at or now)).total_seconds()
        key = (job.organization_id, job.provider)
        sums[key] = sums.get(key, 0.0) + float(job.cost_usd) / seconds * 3600
    for (owner, provider), rate in sums.items():
        rates.add_metric([names.get(owner or 0, ""), provider], rate)
    return rates
