"""Names with `*` and `?` in them."""

from __future__ import annotations


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is as `pattern` says: `*` is anything, `?` one character, case doesn't count.

    Each piece between stars is looked for once, from left to right: a pattern of thousands of stars costs no more
    than its length, where a regular expression could take for ever.
    """
    text = text.casefold()
    first, *rest = pattern.casefold().split("*")
    if not rest:
        return len(first) == len(text) and _is_at(first, text, 0)
    last, end = rest[-1], len(text) - len(rest[-1])
    if not _is_at(first, text, 0) or end < len(first) or not _is_at(last, text, end):
        return False
    place = len(first)
    for piece in filter(None, rest[:-1]):
        found = _find(piece, text, place, end)
        if found is None:
            return False
        place = found + len(piece)
    return True


def _find(piece: str, text: str, start: int, end: int) -> int | None:
    """The first place from `start` where `piece` stands and ends before `end`."""
    if "?" not in piece:
        place = text.find(piece, start, end)
        return None if place < 0 else place
    places = range(start, end - len(piece) + 1)
    return next((place for place in places if _is_at(piece, text, place)), None)


def _is_at(piece: str, text: str, place: int) -> bool:
    """Whether `piece` stands in `text` at `place`."""
    if "?" not in piece:
        return text.startswith(piece, place)
    if len(text) - place < len(piece):
        return False
    return all(wanted in ("?", text[place + offset]) for offset, wanted in enumerate(piece))
