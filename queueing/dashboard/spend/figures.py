"""What the page of costs shows for a view: named, formatted, and each with the address of its jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from cloudtrain_site.wording.values import money
from jobs.costs.report import MAX_SERIES, Breakdown, DearJob, Share
from jobs.models import Organization
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from queueing.budgets.periods import MONTHS
from queueing.dashboard.spend import charts
from queueing.dashboard.spend.address import GROUPS, View, month_days

MAX_ROWS = 20
DAY_LABEL_STEP = 7
#: How many columns of a phone a label takes.
DAY_LABEL_COLUMNS = 4
#: With more months than this a third of them is labelled.
MANY_MONTHS = 12
ZERO = Decimal(0)
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Line:
    """One value of a group: its name, what it spent, and where its jobs are ("": nowhere)."""

    name: str
    spent: Decimal
    total: Decimal
    address: str = ""
    #: The place of its colour; None: it has none.
    series: int | None = None

    @property
    def money(self) -> str:
        return signed_money(self.spent)

    @property
    def percent(self) -> str:
        return f"{self.spent / self.total * 100:.0f} %" if self.total > 0 else ""


def signed_money(amount: Decimal) -> str:
    return f"−{money(-amount)}" if amount < 0 else money(amount)


class Names:
    """The names of the values of a group, those of `found` read in one query."""

    def __init__(self, group: str, found: Sequence[Share], view: View) -> None:
        self.group, self.view = group, view
        keys = {share.key for share in found} - {None}
        self._by_key: Mapping[Any, str] = {}
        if group == "organization":
            self._by_key = dict(Organization.objects.filter(pk__in=keys).values_list("pk", "name"))
        elif group == "user":
            self._by_key = dict(User.objects.filter(pk__in=keys).values_list("pk", "username"))

    def of(self, key: Any) -> str:
        match self.group:
            case "organization":
                return self._by_key.get(key, "No organization")
            case "user":
                return self._by_key.get(key, "Nobody (created at the provider)")
            case "provider":
                return label_of(key)
        return hardware_label(key) or "Default hardware"

    def jobs_of(self, key: Any) -> str:
        """Return the address of its jobs; empty: the list has no filter for it."""
        if self.group in ("organization", "user") and key not in self._by_key:
            return ""
        if self.group == "hardware" and not key:
            return ""
        value = self._by_key[key] if self.group in ("organization", "user") else key
        name = "person" if self.group == "user" else self.group
        return reverse("dashboard") + self.view.jobs_query(**{name: value})


def lines_of(view: View, group: str, found: Sequence[Share], *, coloured: bool) -> list[Line]:
    """Return the first MAX_ROWS, and the others in one line."""
    total = sum((share.spent for share in found), ZERO)
    first, others = found[:MAX_ROWS], found[MAX_ROWS:]
    names = Names(group, first, view)
    lines = [
        Line(names.of(share.key), share.spent, total, names.jobs_of(share.key), _series(place, found, coloured))
        for place, share in enumerate(first)
    ]
    if others:
        spent = sum((share.spent for share in others), ZERO)
        lines.append(Line(f"{len(others):,} other {GROUPS[group][1]}", spent, total, series=_others(coloured)))
    return lines


def _series(place: int, found: Sequence[Share], coloured: bool) -> int | None:
    return min(place, MAX_SERIES) if coloured else None


def _others(coloured: bool) -> int | None:
    return MAX_SERIES if coloured else None


@dataclass(frozen=True, slots=True)
class Column:
    """A day or a month of the chart."""

    label: str
    #: What it is called in full.
    name: str
    total: Decimal
    amounts: Mapping[int, Decimal]
    #: The page of that day or month alone.
    address: str

    @property
    def money(self) -> str:
        return signed_money(self.total)

    def cells(self, count: int) -> list[str]:
        """Return what each of `count` series spent."""
        amounts = [self.amounts.get(place, ZERO) for place in range(count)]
        return [signed_money(amount) if amount else NOTHING for amount in amounts]


def columns_of(view: View, found: Breakdown) -> list[Column]:
    """Return the days of the view, or its months when it has too many days; also those without costs."""
    spans = _months(view) if view.is_by_month else _days(view)
    columns = []
    for place, (start, end) in enumerate(spans):
        amounts = found.spans.get(start, {})
        inner = view.on(max(start, view.start), min(end, view.end))
        label = _month_label(start, place, len(spans)) if view.is_by_month else _day_label(start, place, len(spans))
        columns.append(Column(label, inner.title, sum(amounts.values(), ZERO), amounts, inner.address))
    return columns


def _days(view: View) -> list[tuple[date, date]]:
    days = [view.start + timedelta(days=number) for number in range((view.end - view.start).days + 1)]
    return [(day, day) for day in days]


def _months(view: View) -> list[tuple[date, date]]:
    months, day = [], view.start
    while day <= view.end:
        months.append(month_days(day))
        day = months[-1][1] + timedelta(days=1)
    return months


def _day_label(day: date, place: int, count: int) -> str:
    has_room = place == 0 or count - place >= DAY_LABEL_COLUMNS
    return f"{day.day} {MONTHS[day.month - 1][:3]}" if has_room and place % DAY_LABEL_STEP == 0 else ""


def _month_label(day: date, place: int, count: int) -> str:
    is_labelled = count <= MANY_MONTHS or place % 3 == 0
    return f"{MONTHS[day.month - 1][:3]} {day:%y}" if is_labelled else ""


def chart_of(columns: Sequence[Column], limit: Decimal | None) -> dict[str, Any]:
    """Return the shapes of the columns. `limit`: where a line stands; None: there is none."""
    highest = max([column.total for column in columns], default=ZERO)
    scale = charts.scale_for(max(highest, limit or ZERO))
    return {
        "series": charts.bars([column.amounts for column in columns], scale),
        "marks": [money(mark) for mark in scale.marks],
        "grid": "".join(scale.line(mark, len(columns)) for mark in scale.marks),
        "limit": "" if limit is None else scale.line(limit, len(columns)),
    }


@dataclass(frozen=True, slots=True)
class JobLine:
    """One of the dearest jobs."""

    name: str
    number: int | None
    #: Empty when it was deleted.
    address: str
    person: str
    organization: str
    hardware: str
    spent: str
    estimate: str


def job_lines(found: Sequence[DearJob]) -> list[JobLine]:
    return [
        JobLine(
            name=one.job.config_name,
            number=one.job.number,
            address="" if one.job.deleted_at else reverse("job-page", args=[one.job.pk]),
            person=one.job.submitted_by.get_username() if one.job.submitted_by else "",
            organization=one.job.organization.name if one.job.organization else "",
            hardware=hardware_label(one.job.hardware_profile),
            spent=money(one.spent),
            estimate="" if one.job.estimated_cost_usd is None else money(one.job.estimated_cost_usd),
        )
        for one in found
    ]
