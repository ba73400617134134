"""Values as people read them: amounts, durations, moments, and what JSON has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

CENT = Decimal("0.01")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
#: "2026-12-01 10:37 UTC" of sentences, "1 Dec 2026, 10:37 UTC" of `moment_in_words`.
_IN_TEXT = re.compile(r"(?:(?P<iso>\d{4}-\d\d-\d\d)|(?P<day>\d\d? [A-Z][a-z]{2} \d{4}),) (?P<time>\d\d:\d\d) UTC\b")

#: To what an estimate of at least so many seconds is rounded, in seconds.
ROUNDING = ((86_400, 3_600), (4 * 3_600, 1_800), (3_600, 600), (600, 300), (60, 60), (0, 10))


def rough_duration(seconds: float) -> str:
    """Format an estimate at the precision that it has: 40 min, 1 h 10 min, 2 d 5 h."""
    unit = next(unit for start, unit in ROUNDING if seconds >= start)
    return duration(max(1, round(seconds / unit)) * unit)


def duration(seconds: float) -> str:
    """Format the two largest units that matter: 8 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
    total = int(max(seconds, 0))
    units = [("d", total // 86400), ("h", total // 3600 % 24), ("min", total // 60 % 60), ("s", total % 60)]
    first = next((index for index, (_, count) in enumerate(units) if count), len(units) - 1)
    larger, *smaller = units[first : first + 2]
    return " ".join(f"{count} {unit}" for unit, count in (larger, *(part for part in smaller if part[1])))


def money(amount: Decimal) -> str:
    """Format US dollars and cents; never "$0.00" for a cost above 0."""
    return f"<${CENT}" if 0 < amount < CENT else f"${amount:,.2f}"


def price(per_second: Decimal) -> str:
    return f"${per_second.normalize():f} a second"


def took(milliseconds: float) -> str:
    """Format a run's time: 35 ms, 2.3 s, 3 min 20 s."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 60_000 else duration(milliseconds / 1000)


def isolated(text: object) -> SafeString:
    """Return "flux #12" with its name isolated: an Arabic one would draw the number's sign behind the number."""
    name, sign, number = str(text).rpartition(" #")
    if not sign or not number.isdecimal():
        return format_html("{}", text)
    return format_html("<bdi>{}</bdi> #{}", name, number)


def day_in_words(day: date) -> str:
    return f"{day:%-d %b %Y}"


def moment_in_words(moment: datetime) -> str:
    return f"{_without_zone(moment)} UTC"


def _without_zone(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M}"


def moment_on_page(moment: datetime) -> SafeString:
    """Return the element that the pages' script writes in the reader's time zone.

    As wide before as after: a column that became narrower moved all rows of a list.
    """
    return format_html(
        '<time data-exact datetime="{}">{}</time><noscript> UTC</noscript>',
        moment.astimezone(UTC).isoformat(),
        _without_zone(moment),
    )


def with_moments(text: str) -> SafeString:
    """Return a text with its moments of UTC as `moment_on_page` has them."""

    def shown(match: re.Match[str]) -> str:
        day = match["iso"] or str(datetime.strptime(match["day"], "%d %b %Y").date())  # noqa: DTZ007 - no moment yet
        return moment_on_page(datetime.fromisoformat(f"{day}T{match['time']}+00:00"))

    return mark_safe(_IN_TEXT.sub(shown, escape(text)))  # noqa: S308 - escaped, and elements that are


def in_words(value: Any) -> str:
    """Return a value of JSON without its signs: "role: admin", "50, 80, 100", "yes", "none"."""
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')}: {in_words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    moment = moment_of(value)
    return moment_in_words(moment) if moment else str(value)


def moment_of(value: Any) -> datetime | None:
    """Return the moment that a text of JSON is; None: it is none."""
    return datetime.fromisoformat(value) if isinstance(value, str) and _MOMENT.fullmatch(value) else None
