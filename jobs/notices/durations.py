"""Durations as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format the two largest units that matter: 8 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
    total = int(max(seconds, 0))
    units = [("d", total // 86400), ("h", total // 3600 % 24), ("min", total // 60 % 60), ("s", total % 60)]
    first = next((index for index, (_, count) in enumerate(units) if count), len(units) - 1)
    larger, *smaller = units[first : first + 2]
    return " ".join(f"{count} {unit}" for unit, count in (larger, *(part for part in smaller if part[1])))
