"""Names that read as what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, name

from django.core.exceptions import ValidationError

#: Controls, invisible characters and those that turn the text's direction, separators of lines, surrogates, and what
#: every font draws differently or not at all.
_REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
#: Letters, marks and symbols by their category, and invisible all the same.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
#: Signs that stand around a number in Arabic, Syriac and Kaithi: of category Cf, and visible.
_VISIBLE = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")
_JOINERS = "\u200c\u200d"
#: Where a joiner between two letters is a matter of spelling, as Unicode's names of the letters begin.
_JOINING_SCRIPTS = frozenset(
    (
        *("ARABIC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "KANNADA", "MALAYALAM", "ORIYA", "SINHALA"),
        *("TAMIL", "TELUGU"),
    )
)
#: A heart or a sun may be followed by the sign that it is meant as a picture.
_PICTURE_SIGN = "\ufe0f"


def plain_name(text: str) -> None:
    """Raises ValidationError for a name that can't be a part of an address, telling the character and its place.

    It must be a `readable_name` without slashes.
    """
    _refuse_first(text, _refused_indexes(text), "control characters or slashes")


def readable_name(text: str) -> None:
    """Raises ValidationError for a name that reads differently from what it is, telling the character and its place."""
    _refuse_first(text, _unreadable_indexes(text), "control characters")


def _refuse_first(text: str, indexes: Iterator[int], refused: str) -> None:
    for index in indexes:
        raise ValidationError(
            f"A name can't contain {refused} or invisible characters: "
            f"character {index + 1} is {_described(text[index])}.",
            code="invalid_name",
        )


def is_plain_name(text: str) -> bool:
    """Whether `plain_name` takes it."""
    return not any(True for _ in _refused_indexes(text))


def made_plain(text: str) -> str:
    """`text` with a hyphen for each character that `plain_name` refuses."""
    refused = set(_refused_indexes(text))
    return "".join("-" if index in refused else character for index, character in enumerate(text))


def _refused_indexes(text: str) -> Iterator[int]:
    unreadable = set(_unreadable_indexes(text))
    return (index for index, character in enumerate(text) if character in "/\\" or index in unreadable)


def _unreadable_indexes(text: str) -> Iterator[int]:
    for index, character in enumerate(text):
        if _is_unseen(character) and not _is_spelling(text, index):
            yield index


def _is_unseen(character: str) -> bool:
    if _INVISIBLE.match(character):
        return True
    return category(character) in _REFUSED_CATEGORIES and not _VISIBLE.match(character)


def _is_spelling(text: str, index: int) -> bool:
    before, after = text[max(index - 1, 0) : index], text[index + 1 : index + 2]
    if text[index] == _PICTURE_SIGN:
        return bool(before) and category(before) == "So"
    if text[index] not in _JOINERS or not before or not after:
        return False
    scripts = {name(letter, "").partition(" ")[0] for letter in (before, after)}
    are_letters = category(before)[0] in "LM" and category(after)[0] == "L"
    return are_letters and len(scripts) == 1 and scripts <= _JOINING_SCRIPTS


def _described(character: str) -> str:
    """What it is, as Unicode calls it: "a right-to-left override"."""
    called = name(character, f"U+{ord(character):04X}")
    if called.startswith("U+"):
        return called
    return f"{'an' if called[0] in 'AEIOU' else 'a'} {called.lower()}"
