"""Durations as people read them."""

from __future__ import annotations

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
