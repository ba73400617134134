"""What the address of the page asks for: the days, the grouping, the organization."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from django.utils.http import urlencode

from queueing.budgets.periods import MONTHS

#: What the days are stacked by, with the name of one value and of the many.
GROUPS: Mapping[str, tuple[str, str]] = {
    "organization": ("Organization", "organizations"),
    "user": ("Person", "people"),
    "provider": ("Provider", "providers"),
    "hardware": ("Hardware", "hardware"),
}
#: More days than this are shown by month.
MAX_DAILY = 92
MAX_DAYS = 3 * 366
MONTHS_OFFERED = 24
A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows: some days, both ends included, stacked by a group; of one organization, or of all ("")."""

    start: date
    end: date
    group: str
    organization: str = ""
    #: Whether the address asked for something that there is not.
    is_misunderstood: bool = False

    @property
    def month(self) -> str:
        """The month that it is, as 2026-11; empty for other days."""
        return month_of(self.start) if (self.start, self.end) == month_days(self.start) else ""

    @property
    def title(self) -> str:
        """As in "November 2026" and "3 to 9 November 2026"."""
        if self.month:
            return month_title(self.month)
        if self.start == self.end:
            return full_day(self.start)
        if month_of(self.start) == month_of(self.end):
            return f"{self.start.day} to {full_day(self.end)}"
        return f"{full_day(self.start)} to {full_day(self.end)}"

    @property
    def is_by_month(self) -> bool:
        return (self.end - self.start).days >= MAX_DAILY

    @property
    def address(self) -> str:
        days = {"month": self.month} if self.month else {"from": f"{self.start}", "to": f"{self.end}"}
        return f"?{urlencode({**days, 'group': self.group, **self._organization()})}"

    def of(self, group: str) -> View:
        return replace(self, group=group)

    def on(self, start: date, end: date) -> View:
        return replace(self, start=start, end=end)

    def export_query(self, group: str = "") -> str:
        """Return the same days and organization for the CSV files."""
        groups = {"group": group} if group else {}
        return f"?{urlencode({'from': f'{self.start}', 'to': f'{self.end}', **groups, **self._organization()})}"

    def jobs_query(self, **filters: str) -> str:
        """Return the list of the jobs that cost something in this time, the dearest first."""
        days = {"cost_from": f"{self.start}", "cost_to": f"{self.end}", "sort": "cost"}
        return f"?{urlencode({**self._organization(), **filters, **days})}"

    def _organization(self) -> dict[str, str]:
        return {"organization": self.organization} if self.organization else {}


def month_of(day: date) -> str:
    return f"{day:%Y-%m}"


def month_title(month: str) -> str:
    """Return 2026-11 as November 2026."""
    year, number = month.split("-")
    return f"{MONTHS[int(number) - 1]} {year}"


def full_day(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def month_days(day: date) -> tuple[date, date]:
    """Return the first and the last day of the month of `day`."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def read(parameters: Mapping[str, str], organizations: Sequence[str], default_group: str, today: date) -> View:
    """Return what the address asks for; what it asks in vain is left out, and the view says so."""
    organization, group = parameters.get("organization", ""), parameters.get("group") or default_group
    is_wrong = (organization not in ("", *organizations)) or group not in GROUPS
    days = _days(parameters)
    start, end = days or month_days(today)
    return View(
        start=start,
        end=end,
        group=group if group in GROUPS else default_group,
        organization=organization if organization in organizations else "",
        is_misunderstood=is_wrong or (days is None and any(parameters.get(name) for name in ("from", "to", "month"))),
    )


def _days(parameters: Mapping[str, str]) -> tuple[date, date] | None:
    """None: they are left out, or no days of a calendar, or too many."""
    try:
        if month := parameters.get("month"):
            return month_days(date.fromisoformat(f"{month}-01"))
        start, end = (date.fromisoformat(parameters.get(name, "")) for name in ("from", "to"))
    except ValueError:
        return None
    return (start, end) if timedelta() <= end - start < timedelta(days=MAX_DAYS) else None


def months_before(today: date, chosen: str) -> list[str]:
    """Return the months to choose from, the newest first; `chosen` is among them."""
    last = today.year * 12 + today.month - 1
    months = {f"{number // 12}-{number % 12 + 1:02}" for number in range(last - MONTHS_OFFERED + 1, last + 1)}
    return sorted(months | ({chosen} if chosen else set()), reverse=True)
