"""Configs in TOML and YAML, read as JSON has them.

What two readers of YAML take for different values is refused, as `yes` and `0777` are: in quotes each is a text.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, NoReturn

import yaml

from jobs.configs.exact import JSON_NUMBER, Numeral, read_exact
from jobs.configs.submission import problem_with

MAX_BYTES = 256_000
MAX_DEPTH = 50

_TOML_LINE = re.compile(r"""\s*(?:\[\[?[\w."' -]+\]\]?\s*(?:\#.*)?$|[\w."'-]+\s*=)""")
#: In C where it is there: twenty times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_resolver = yaml.resolver.Resolver()
_TEXT = "tag:yaml.org,2002:str"
_CONSTANTS = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Notation(StrEnum):
    JSON = "json"
    TOML = "toml"
    YAML = "yaml"


class ConversionError(ValueError):
    """A text that can't be read; the message is a sentence, with the line where one is known."""


def notation_of(text: str) -> Notation:
    """Return the notation that `text` looks like by its first line that is no comment."""
    if text.lstrip().startswith("{") or _is_json(text):
        return Notation.JSON
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    if _TOML_LINE.match(first):
        return Notation.TOML
    return Notation.JSON if first.lstrip().startswith("[") else Notation.YAML


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read_as(notation: Notation, text: str) -> Any:
    """Return the value of `text`, its fractions as Numerals. Raises ConversionError."""
    if notation is not Notation.JSON and len(text.encode(errors="replace")) > MAX_BYTES:
        raise ConversionError(f"It is larger than {MAX_BYTES // 1000} kB.")
    try:
        value = _READERS[notation](text)
    except RecursionError:
        raise ConversionError("It is nested too deeply.") from None
    if problem := problem_with(value):
        raise ConversionError(problem)
    return value


def _json(text: str) -> Any:
    try:
        return read_exact(text)
    except ValueError as error:
        raise ConversionError(f"This is not valid JSON: {error}.") from None


def _toml(text: str) -> Any:
    try:
        value = tomllib.loads(text, parse_float=_fraction)
    except ConversionError:
        raise
    except ValueError as error:  # tomllib's own, and a number of more digits than Python reads
        raise ConversionError(f"This is not valid TOML: {error}.") from None
    _refuse_dates(value, "")
    return value


def _fraction(text: str) -> Numeral:
    """Return a number of TOML or YAML as JSON writes it: without a plus, underscores or a point at either end."""
    plain = re.sub(r"\.(?=[eE]|$)", ".0", text.replace("_", "").removeprefix("+"))
    plain = re.sub(r"^(-?)\.", r"\g<1>0.", plain)
    if not JSON_NUMBER.fullmatch(plain):
        raise ConversionError(f"{text} is not a number in JSON.")
    return Numeral(plain)


def _refuse_dates(value: Any, place: str) -> None:
    if isinstance(value, datetime | date | time):
        raise ConversionError(f"{place} is a date or a time, which JSON doesn't have: put it in quotes.")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        _refuse_dates(one, f"{place}.{key}" if place else str(key))


def _yaml(text: str) -> Any:
    try:
        return _YamlReader(text).document()
    except yaml.MarkedYAMLError as error:
        _refuse(error.problem_mark, f"{error.problem or 'it is not readable'}.")
    except yaml.YAMLError as error:
        raise ConversionError(f"This is not valid YAML: {str(error).splitlines()[0]}.") from None


def _refuse(mark: Any, sentence: str) -> NoReturn:
    line = f"Line {mark.line + 1}: " if mark is not None else ""
    raise ConversionError(f"{line}{sentence}")


class _YamlReader:
    """Builds values from the events of one document. Anchors are refused: with them a small text can expand to
    gigabytes."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_Loader))
        self._depth = 0

    def document(self) -> Any:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            raise ConversionError("It is empty.")
        value = self._value(next(self._events))
        next(self._events)
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            _refuse(following.start_mark, "A second document begins here, but a config has only one.")
        return value

    def _value(self, event: Any) -> Any:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            _refuse(event.start_mark, "Anchors and aliases are not supported: write the value itself.")
        if event.tag is not None:
            _refuse(event.start_mark, f"The tag {event.tag} is not supported: leave it out.")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _refuse(event.start_mark, f"This is nested more than {MAX_DEPTH} deep.")
        value = self._list() if isinstance(event, yaml.SequenceStartEvent) else self._object()
        self._depth -= 1
        return value

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event))
        return items

    def _object(self) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                _refuse(event.start_mark, "A name is expected here.")
            if event.anchor is not None or (event.implicit[0] and event.value == "<<"):
                _refuse(event.start_mark, "Anchors and merges are not supported: write the values themselves.")
            if event.value in items:
                _refuse(event.start_mark, f"{event.value} is already set above.")
            items[event.value] = self._value(next(self._events))
        return items

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # in quotes, or a block
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if re.fullmatch(r"[-+]?(?:0|[1-9][0-9]*)", text):
            return self._whole(event)
        if re.fullmatch(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", text) and not _has_leading_zero(text):
            return _fraction(text)
        tag = _resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        if tag != _TEXT:
            _refuse(event.start_mark, f"{text} means different values to different readers: put it in quotes.")
        return text

    def _whole(self, event: Any) -> int:
        try:
            return int(event.value)
        except ValueError:  # of more digits than Python reads
            _refuse(event.start_mark, "This number has too many digits.")


def _has_leading_zero(text: str) -> bool:
    return re.match(r"[-+]?0[0-9]", text) is not None


_READERS = {Notation.JSON: _json, Notation.TOML: _toml, Notation.YAML: _yaml}
