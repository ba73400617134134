"""The registry by which a room above extends a room below, which doesn't import it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """The registered entries by name: small orders first, equal ones in the order of registration."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, T]] = {}

    def register(self, name: str, entry: T, *, order: int = 0) -> None:
        """Add `entry` under `name`. A second one under the same name replaces the first."""
        self._entries[name] = order, entry

    def __getitem__(self, name: str) -> T:
        return self._entries[name][1]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries, key=lambda name: self._entries[name][0]))

    def __len__(self) -> int:
        return len(self._entries)
