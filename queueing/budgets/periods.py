"""The periods of budgets: when the present one began, when the next begins, and how a sentence names it. Pure."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
#: The first day of what has no beginning.
EVER = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class Window:
    """A period in a time zone; `after` is the first day of the next one, None: there is none."""

    start: date
    after: date | None
    zone: ZoneInfo

    @property
    def resets_at(self) -> datetime | None:
        return datetime.combine(self.after, time(), self.zone).astimezone(UTC) if self.after else None

    @property
    def name(self) -> str:
        """As in "for November", "for 10 November" and "for all time"."""
        if self.after is None:
            return "all time"
        is_day = (self.after - self.start).days == 1
        return day_name(self.start) if is_day else MONTHS[self.start.month - 1]

    @property
    def resets(self) -> str:
        return f"Resets on {day_name(self.after)}" if self.after else "It does not reset"

    @property
    def days(self) -> int:
        """How many days it has; 0: no number of them."""
        return (self.after - self.start).days if self.after else 0


def day_name(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]}"


def window(period: str, zone_name: str, now: datetime) -> Window:
    """Return the period of `now`: `month`, `day` or `lifetime`."""
    zone = ZoneInfo(zone_name)
    today = now.astimezone(zone).date()
    if period == "lifetime":
        return Window(EVER, None, zone)
    if period == "day":
        return Window(today, today + timedelta(days=1), zone)
    start = today.replace(day=1)
    return Window(start, start + timedelta(days=monthrange(today.year, today.month)[1]), zone)
