"""What was spent, grouped: for the API, CSV files and Prometheus. As far as the asker may see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from heapq import merge
from itertools import chain, groupby
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db.models import Aggregate, DateField, F, Func, Model, Q, QuerySet, Sum
from django.db.models.functions import Substr
from django.db.models.lookups import In

from jobs.costs.cost_sums import COLUMNS, OF_MONTH, SPENT, UNPRICED, Span, dollars, spans
from jobs.models import CostSum, DayCost, JobAccount, LedgerEntry, Organization
from jobs.models.cost_sums import SumOf
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
EVERYTHING = Q()


class FirstOfMonth(Func):
    """The first day of the month of a day."""

    output_field = DateField()
    arity = 1
    template = "date_trunc('month', %(expressions)s::timestamp)::date"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite stores a day as its text."""
        return self.as_sql(compiler, connection, template="(substr(%(expressions)s, 1, 8) || '01')", **context)


#: Columns that a sum's name tells, and a day itself.
DAY, MONTH = "day", "month"
OF_SUMS: Mapping[str, Any] = {DAY: F("span"), MONTH: Substr("span", 1, OF_MONTH)}
OF_DAYS: Mapping[str, Any] = {DAY: F("day"), MONTH: FirstOfMonth("day")}


@dataclass(frozen=True)
class Spending:
    """The days from `start` to `end`, both included, of the organizations that `user` belongs to, or of one of them."""

    user: AnyUser
    start: date
    end: date
    organization: Organization | None = None

    def rows(self, groups: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield a row for each combination: its groups by name, `spent_usd`, and how many jobs have no known cost."""
        names = _Names(groups)
        for *values, amount, unpriced in self._in_order([GROUPS[name] for name in groups]):
            shown = {name: names.of(name, value) for name, value in zip(groups, values, strict=True)}
            yield {**shown, "spent_usd": dollars(amount), "unpriced_jobs": unpriced}

    def has_more_rows(self, groups: Sequence[str], number: int) -> bool:
        """Whether `rows` yields more of what there are many: that is known long before they are added up."""
        columns = [GROUPS[name] for name in groups]
        if not {"config", "job"}.intersection(groups):
            return False
        return bool(self.days().values(*columns).distinct()[: number + 1].count() > number)

    def _in_order(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        parts = self._parts(columns)
        if len(parts) > 1 and DAY not in columns:
            found = self.sums(columns)
            yield from ((*key, *found[key]) for key in sorted(found, key=_order))
            return
        # No day is in two parts. Of each no more than a page is in memory: there may be very many rows.
        pages = (part.order_by(*columns).iterator(chunk_size=ROWS_PER_PAGE) for part in parts)
        rows = [(_with_days(columns, row) for row in page) for page in pages]
        yield from chain(*rows) if columns[0] == DAY else merge(*rows, key=_order)

    def sums(self, columns: Sequence[str], where: Q = EVERYTHING) -> dict[tuple[Any, ...], tuple[int, int]]:
        """Return by the values of `columns` what was spent, in microdollars, and how many of the days are unpriced.

        Of MONTH the value is its first day.
        """
        found: dict[tuple[Any, ...], tuple[int, int]] = {}
        for part in self._parts(columns, where):
            for row in part:
                *key, amount, unpriced = _with_days(columns, row)
                before = found.get(tuple(key), (0, 0))
                found[tuple(key)] = before[0] + amount, before[1] + unpriced
        return found

    def _parts(self, columns: Sequence[str], where: Q = EVERYTHING) -> list[QuerySet[Any, tuple[Any, ...]]]:
        """Return what together is all that was spent, in the order of the days."""
        kind = _kind_of(columns)
        if kind is None:
            return [_grouped(self.days().filter(where), columns, OF_DAYS, SPENT, UNPRICED)]
        parts = []
        for has_sums, some in groupby(self._by_day if DAY in columns else self.by_month, lambda span: bool(span.name)):
            together = list(some)
            if has_sums:
                rows = CostSum.objects.filter(where, kind=kind, span__in=[span.name for span in together])
                parts.append(_grouped(self.seen(rows), columns, OF_SUMS, Sum("amount"), Sum("unpriced")))
            else:
                days = self.days(together[0].first, together[-1].last).filter(where)
                parts.append(_grouped(days, columns, OF_DAYS, SPENT, UNPRICED))
        return parts

    @cached_property
    def by_month(self) -> list[Span]:
        """The time in months and days that are added up, and the times between."""
        return spans(self.start, self.end, with_months=True)

    @cached_property
    def _by_day(self) -> list[Span]:
        return spans(self.start, self.end, with_months=False)

    def totals(self) -> dict[str, Decimal]:
        """Return what was spent in the time, and what is held for jobs now."""
        spent = dollars(sum(amount for amount, _ in self.sums([MONTH]).values()))
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

    def days(self, first: date | None = None, last: date | None = None) -> QuerySet[DayCost]:
        """Return what the jobs spent on each of the days, or on those from `first` to `last`."""
        return self.seen(DayCost.objects.filter(day__gte=first or self.start, day__lte=last or self.end)).order_by()

    def seen(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Return those of `rows` (of any time) that `user` may see, and that are of the organization."""
        return rows if self.organizations is None else rows.filter(organization__in=self.organizations)

    def seen_of_few(self, rows: QuerySet[M]) -> QuerySet[M]:
        """As `seen`, of few rows: by an organization's index SQLite would read all that it has."""
        if self.organizations is None:
            return rows
        return rows.filter(In(F("organization_id") + 0, self.organizations))

    @cached_property
    def organizations(self) -> list[int] | None:
        """The organizations whose costs are in it; None: all, and those of nobody.

        They are read first: with them the database walks an index for each.
        """
        if self.organization is not None:
            return [self.organization.pk]
        return None if is_superuser(self.user) else list(organizations_of(self.user).values_list("pk", flat=True))


def _kind_of(columns: Sequence[str]) -> SumOf | None:
    """Return which sums have all of the columns; None: no sums have."""
    return next((kind for kind, known in COLUMNS.items() if {DAY, MONTH, *known}.issuperset(columns)), None)


def _grouped(
    rows: QuerySet[Any], columns: Sequence[str], times: Mapping[str, Any], *sums: Aggregate
) -> QuerySet[Any, tuple[Any, ...]]:
    named = {name: times[name] for name in columns if name in times and times[name] != F(name)}
    grouped: QuerySet[Any, tuple[Any, ...]] = rows.order_by().annotate(**named).values_list(*columns)
    both: QuerySet[Any, tuple[Any, ...]] = grouped.annotate(sum_of_amounts=sums[0], sum_of_unpriced=sums[1])
    return both


def _with_days(columns: Sequence[str], row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row with a day where a sum's name has the text of one, or of a month."""
    values = list(row)
    for place, column in enumerate(columns):
        if column in (DAY, MONTH) and isinstance(values[place], str):
            values[place] = date.fromisoformat(f"{values[place]}-01" if column == MONTH else values[place])
    return tuple(values)


def _order(key: Sequence[Any]) -> list[tuple[bool, Any]]:
    return [(value is not None, value) for value in key]


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
