"""Lists of a hundred at a time, newest first, with cursors as Django REST Framework makes them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar
from urllib.parse import parse_qs, urlencode

from examples.fake_replicate.problems import not_found
from examples.fake_replicate.times import MICROSECOND, SECOND, parse

PAGE_SIZE = 100


class Dated(Protocol):
    created_ns: int


Item = TypeVar("Item", bound=Dated)


@dataclass(frozen=True)
class Page(Generic[Item]):
    items: list[Item]
    next: str | None
    previous: str | None


class Pager(Generic[Item]):
    """Cuts pages out of `items`, which are oldest first. Its clock is `skew` ahead of theirs."""

    def __init__(self, items: Sequence[Item], address: str, skew: int = 0) -> None:
        self.items = items
        self.address = address
        self.skew = skew

    def page(self, query: Mapping[str, str]) -> Page[Item]:
        """The page that a request's query names. Raises a 404 for a broken cursor, ValueError for a broken date."""
        low, high = self._bounds(query)
        position, backwards = _decoded(query["cursor"]) if "cursor" in query else (None, False)
        if position is None:
            start = max(low, high - PAGE_SIZE)
        elif backwards:
            start = max(low, self._index(position, after=True))
            high, has_newer = min(high, start + PAGE_SIZE), start + PAGE_SIZE < high
            return self._cut(start, high, query, older=True, newer=has_newer)
        else:
            high = max(low, min(high, self._index(position)))
            start = max(low, high - PAGE_SIZE)
        return self._cut(start, high, query, older=start > low, newer=position is not None)

    def _bounds(self, query: Mapping[str, str]) -> tuple[int, int]:
        low = self._index(parse(query["created_after"])) if "created_after" in query else 0
        high = self._index(parse(query["created_before"])) if "created_before" in query else len(self.items)
        return low, max(low, high)

    def _index(self, position: int, *, after: bool = False) -> int:
        search = bisect_right if after else bisect_left
        return search(self.items, position - self.skew, key=lambda item: item.created_ns)

    def _cut(self, start: int, end: int, query: Mapping[str, str], *, older: bool, newer: bool) -> Page[Item]:
        items = list(reversed(self.items[start:end]))
        if not items:
            return Page([], None, None)
        following = self._link(query, items[-1]) if older else None
        preceding = self._link(query, items[0], r="1") if newer else None
        return Page(items, following, preceding)

    def _link(self, query: Mapping[str, str], item: Item, **how: str) -> str:
        cursor = encode_cursor(item.created_ns + self.skew, **how)
        return f"{self.address}?{urlencode(dict(query) | {'cursor': cursor})}"


def encode_cursor(position: int, **how: str) -> str:
    seconds, rest = divmod(position, SECOND)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // MICROSECOND)
    return b64encode(urlencode(how | {"p": str(moment)}).encode()).decode()


def _decoded(cursor: str) -> tuple[int, bool]:
    try:
        parts = parse_qs(b64decode(cursor, validate=True).decode())
        return parse(parts["p"][0]), parts.get("r") == ["1"]
    except (ValueError, KeyError):
        raise not_found("Invalid cursor") from None
