"""What an import did, or would do: counted by kind and reason, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

#: The table names at most this many unreadable rows.
MAX_NAMED = 20


class Fate(StrEnum):
    """What becomes of a row."""

    NEW = "new"
    THERE = "already there"
    SKIPPED = "skipped"
    BROKEN = "unreadable"


@dataclass(slots=True)
class Outcome:
    """The rows by kind, fate and reason; `notes` are sentences below the table."""

    counts: Counter[tuple[str, Fate, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, fate: Fate, reason: str = "") -> None:
        self.counts[kind, fate, reason] += 1

    def add_broken(self, kind: str, name: str, reason: str) -> None:
        self.add(kind, Fate.BROKEN, "see below")
        self.broken.append(f"{name}: {reason}.")

    def count(self, fate: Fate, kind: str = "") -> int:
        return sum(count for (of, its, _), count in self.counts.items() if its == fate and kind in ("", of))

    def join(self, other: Outcome) -> None:
        self.counts.update(other.counts)
        self.broken += other.broken
        self.notes += other.notes

    def lines(self) -> Iterator[str]:
        """Yield the table, the unreadable rows and the notes."""
        fates = list(Fate)
        rows = sorted(self.counts.items(), key=lambda one: (one[0][0], fates.index(one[0][1]), -one[1], one[0][2]))
        width = max([len(kind) for kind, *_ in self.counts], default=0)
        for (kind, fate, reason), count in rows:
            yield f"{kind:<{width}}  {fate:<{len(Fate.THERE)}}  {count:>7,}  {reason}".rstrip()
        yield from _named("Unreadable:", self.broken)
        yield from self.notes


def _named(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  {line}" for line in lines[:MAX_NAMED])
    if len(lines) > MAX_NAMED:
        yield f"  and {len(lines) - MAX_NAMED:,} more."
