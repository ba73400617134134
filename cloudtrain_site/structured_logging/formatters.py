"""The formats of a log record: the documented JSON object, and a line for people."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from structlog.contextvars import get_contextvars

from cloudtrain_site.redaction import MAX_DEPTH, mask_secrets, may_hold_secret
from cloudtrain_site.structured_logging.context import context_fields

# Not structlog's ProcessorFormatter: with the same output it takes 2.7 times as long as a plain formatter, which leaves
# no time for the masking of secrets.

_BLANK = logging.makeLogRecord({})
_MADE_LINE = "_cloudtrain_line"
#: The attributes that logging itself, or a formatter, sets on a record; all others are the caller's.
RESERVED = frozenset(_BLANK.__dict__) | {"message", "asctime", "taskName", "color_message", _MADE_LINE}
_RENAMED_FIELDS = "_cloudtrain_aside"
_LEVELS = {name: getattr(logging, name) for name in ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")}
#: With the correlation id, which CorrelationIDFilter adds.
_RESERVED_COUNT = len(_BLANK.__dict__) + 1


def attach_fields(record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
    """Put `fields` on the record, as logging's `extra` does, but never over logging's own attributes."""
    attributes = record.__dict__
    for name, value in fields.items():
        if name in RESERVED:
            attributes.setdefault(_RENAMED_FIELDS, {})[name] = value
        else:
            attributes[name] = value


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the request's fields, those of the blocks around the line, and its own: the nearest wins."""
    fields = get_contextvars()
    fields.update(context_fields())
    attributes = record.__dict__
    if len(attributes) > _RESERVED_COUNT or "correlation_id" not in attributes:
        fields.update((name, value) for name, value in attributes.items() if name not in RESERVED)
        fields.update(fields.pop(_RENAMED_FIELDS, ()))
    fields.pop("correlation_id", None)
    return fields


@lru_cache(maxsize=8)
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def _level_of(record: logging.LogRecord) -> str:
    """Return one of the five names: a library's own level counts as the one below it."""
    if record.levelname in _LEVELS:
        return record.levelname
    # `makeLogRecord` makes records without a level.
    return next((name for name, number in _LEVELS.items() if (record.levelno or 0) >= number), "DEBUG")


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"  # the arguments don't fit the text: log both


def _id_on(record: logging.LogRecord) -> Any:
    return record.__dict__.get("correlation_id", "")  # empty behind a handler without CorrelationIDFilter


def entry_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the documented object, its keys in order, not yet masked."""
    fields = _fields_of(record)
    entry = {
        "timestamp": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
        "level": _level_of(record),
        "logger": record.name,
        "message": _message_of(record),
        "correlation_id": _id_on(record),
        "source": {"file": record.filename, "line": record.lineno, "function": record.funcName},
    }
    if fields:
        entry["extra"] = fields
    if record.exc_info and record.exc_info[0] is not None:
        entry["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    if record.stack_info:
        entry["stack"] = record.stack_info
    return entry


def safe_repr(value: object) -> str:
    """Return the repr of `value`, or a replacement when repr raises."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} without a repr>"


# NaN is refused, since it is not JSON and breaks the log's readers. ASCII, since a line then has no line end of any
# kind and no control character of a terminal.
_encode = json.JSONEncoder(default=safe_repr, allow_nan=False).encode


def _plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON can express it: other types, cycles and too deep nesting become their repr."""
    if value is None or isinstance(value, str | bool):
        return value
    try:
        if depth < MAX_DEPTH and isinstance(value, Mapping):
            return {
                key if isinstance(key, str) else safe_repr(key): _plain(item, depth + 1) for key, item in value.items()
            }
        if depth < MAX_DEPTH and isinstance(value, list | tuple):
            return [_plain(item, depth + 1) for item in value]
        # Python itself refuses to write a number of thousands of digits.
        is_number = isinstance(value, int) or (isinstance(value, float) and value - value == 0)
        return value if is_number and _encode(value) else safe_repr(value)
    except Exception:
        return safe_repr(value)  # one broken value must not cost the line


#: The keys whose values can contain a secret; the others' values are our own.
_FROM_OUTSIDE = ("message", "extra", "exception", "stack")


def _json_line(entry: dict[str, Any]) -> str:
    try:
        line = _encode(entry)
    except Exception:
        line = _encode(_plain(entry))
    if not may_hold_secret(line):
        return line
    # The written line is parsed again: now its values are plain, of whatever types they were.
    plain = json.loads(line)
    return _encode(plain | {key: mask_secrets(plain[key]) for key in _FROM_OUTSIDE if key in plain})


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the standard library's space after `:` and `,`: documented recipes need it."""

    def __init__(self, include_stack_info: bool = False) -> None:
        super().__init__()
        self.include_stack_info = include_stack_info

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Never raises: for a record that can't be formatted it returns a line about that.

        The record keeps it for the next handler, as that of the file behind that of the standard output.
        """
        made: tuple[bool, str] | None = record.__dict__.get(_MADE_LINE)
        if made is None or made[0] != self.include_stack_info:
            made = record.__dict__[_MADE_LINE] = (self.include_stack_info, self._line_of(record))
        return made[1]

    def _line_of(self, record: logging.LogRecord) -> str:
        try:
            entry = entry_of(record)
            if self.include_stack_info and record.levelno >= logging.ERROR and "stack" not in entry:
                entry["stack"] = _stack_of(record)
            return _json_line(entry)
        except Exception as error:
            return _encode(_failure_entry(record, error))


def _failure_entry(record: logging.LogRecord, error: Exception) -> dict[str, Any]:
    return {
        "timestamp": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
        "level": _level_of(record),
        "logger": record.name,
        "message": f"A log record could not be written: {type(error).__name__}",
        "correlation_id": _id_on(record),
        "source": {"file": record.filename, "line": record.lineno, "function": record.funcName},
    }


def _stack_of(record: logging.LogRecord) -> str:
    """Return the call stack of the line, without logging's own calls."""
    frame = sys._getframe()
    while frame.f_back and (frame.f_code.co_filename, frame.f_lineno) != (record.pathname, record.lineno):
        frame = frame.f_back
    return "".join(traceback.format_stack(frame)).rstrip("\n")


_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
# All characters that move a cursor, end a line or change the direction of writing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class TextFormatter(JsonFormatter):
    """A line for people. No record's content can begin a second line or control the terminal."""

    def __init__(self, include_stack_info: bool = False, colours: bool = False) -> None:
        super().__init__(include_stack_info)
        self.colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it, indented, the traceback."""
        # Made from the JSON line, so that both formats mask the same secrets and survive the same values.
        entry = json.loads(super().format(record))
        source = entry["source"]
        fields = [f"{_visible(name)}={_value_for_people(value)}" for name, value in entry.get("extra", {}).items()]
        line = " ".join(
            [
                entry["timestamp"],
                self._coloured(f"{entry['level']:<8}", entry["level"]),
                f"{_visible(entry['logger'])}: {_visible(entry['message'])}",
                *fields,
                f"[{_visible(entry['correlation_id'])}] ({source['file']}:{source['line']} {source['function']})",
            ]
        )
        below = [row for key in ("exception", "stack") for row in entry.get(key, "").splitlines()]
        return "\n    ".join([line, *map(_visible, below)])

    def _coloured(self, text: str, level: str) -> str:
        return f"\x1b[{_COLOURS.get(level, '0')}m{text}\x1b[0m" if self.colours else text


def _value_for_people(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _visible(text if re.fullmatch(r"[^\s=\"]+", text) else json.dumps(value, ensure_ascii=False))
