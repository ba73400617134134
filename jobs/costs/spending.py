"""What was spent, grouped: for the API, CSV files and Prometheus. As far as the asker may see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db.models import Count, Model, Q, QuerySet, Sum

from jobs.models import DayCost, JobAccount, LedgerEntry, Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of

M = TypeVar("M", bound=Model)

#: The columns of each group, by its name.
GROUPS: Mapping[str, str] = {
    "day": "day",
    "organization": "organization_id",
    "user": "user_id",
    "provider": "provider",
    "hardware": "hardware",
    "config": "config_name",
    "job": "job_id",
}
ROWS_PER_PAGE = 2000
CENT_OF_A_CENT = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Spending:
    """The days from `start` to `end`, both included, of the organizations that `user` belongs to, or of one of them."""

    user: AnyUser
    start: date
    end: date
    organization: Organization | None = None

    def rows(self, groups: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield a row for each combination: its groups by name, `spent_usd`, and how many jobs have no known cost."""
        columns = [GROUPS[name] for name in groups]
        sums = self.days().order_by(*columns).values_list(*columns)
        found = sums.annotate(sum=Sum("spent"), unpriced=Count("pk", filter=Q(is_unpriced=True)))
        names = _Names(groups)
        for *values, spent, unpriced in found.iterator(chunk_size=ROWS_PER_PAGE):
            shown = {name: names.of(name, value) for name, value in zip(groups, values, strict=True)}
            yield {**shown, "spent_usd": spent.quantize(CENT_OF_A_CENT), "unpriced_jobs": unpriced}

    def totals(self) -> dict[str, Decimal]:
        """Return what was spent in the time, and what is held for jobs now."""
        spent = self.days().aggregate(sum=Sum("spent"))["sum"] or Decimal(0)
        held = self.held()
        return {"spent_usd": spent, "held_usd": held, "committed_usd": spent + held}

    def held(self) -> Decimal:
        """Return what is held for jobs now."""
        accounts = self.seen(JobAccount.objects.filter(held__gt=0)).order_by()
        return accounts.aggregate(sum=Sum("held"))["sum"] or Decimal(0)

    def entries(self) -> Iterator[tuple[Any, ...]]:
        """Yield the ledger's entries, the oldest first, in the columns of ENTRY_COLUMNS. A page at a time is read."""
        names = _Names(("organization", "user"))
        entries = self.seen(LedgerEntry.objects.all())
        entries = entries.filter(day__gte=self.start, day__lte=self.end).order_by("id")
        last = 0
        while page := list(entries.filter(pk__gt=last).values_list(*READ)[:ROWS_PER_PAGE]):
            last = page[-1][0]
            for pk, job, sequence, kind, amount, at, day, organization, user, *rest in page:
                owner, person = names.of("organization", organization), names.of("user", user)
                when = (at.isoformat(), day, f"{day:%Y-%m}")
                yield (pk, job, sequence, kind, amount, *when, owner, person, *rest)

    def days(self) -> QuerySet[DayCost]:
        """Return what the jobs spent on each of the days."""
        return self.seen(DayCost.objects.filter(day__gte=self.start, day__lte=self.end))

    def seen(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Return those of `rows` (of any time) that `user` may see, and that are of the organization."""
        return _seen_by(self.user, rows, self.organization)


READ = (
    *("id", "job_id", "sequence", "kind", "amount", "at", "day", "organization_id", "user_id"),
    *("provider", "hardware", "seconds", "per_second", "priced_on", "source", "by", "reason"),
)
#: Near FOCUS (focus.finops.org); what it has no name for begins with x_.
ENTRY_COLUMNS = (
    *("x_EntryId", "ResourceId", "x_Sequence", "ChargeCategory", "BilledCost"),
    # The moment is UTC; the day and its month are those of the organization.
    *("ChargePeriodStart", "x_Day", "x_BillingPeriod"),
    *("SubAccountName", "x_User", "ProviderName", "ServiceName", "PricingQuantity", "ListUnitPrice", "x_PricedOn"),
    *("x_Source", "x_By", "x_Reason"),
)
GROUP_COLUMNS: Mapping[str, str] = {
    "day": "ChargePeriodStart",
    "organization": "SubAccountName",
    "user": "x_User",
    "provider": "ProviderName",
    "hardware": "ServiceName",
    "config": "x_Config",
    "job": "ResourceId",
}


def zone_of(organizations: Iterable[Organization]) -> ZoneInfo:
    """Return the zone in which all of the organizations have their days; UTC when they differ."""
    zones = {one.time_zone for one in organizations}
    return ZoneInfo(zones.pop() if len(zones) == 1 else "UTC")


def _seen_by(user: AnyUser, rows: QuerySet[M], organization: Organization | None) -> QuerySet[M]:
    if organization is not None:
        return rows.filter(organization=organization)
    if is_superuser(user):
        return rows
    # Read first: with them the database walks an index for each.
    return rows.filter(organization__in=list(organizations_of(user).values_list("pk", flat=True)))


class _Names:
    """The names of organizations and users, read once."""

    def __init__(self, groups: Sequence[str]) -> None:
        self._by_group: dict[str, dict[Any, str]] = {}
        if "organization" in groups:
            self._by_group["organization"] = dict(Organization.objects.values_list("pk", "name"))
        if "user" in groups:
            self._by_group["user"] = dict(User.objects.values_list("pk", "username"))

    def of(self, group: str, value: Any) -> Any:
        names = self._by_group.get(group)
        return value if names is None else names.get(value)
