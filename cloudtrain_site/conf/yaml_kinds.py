"""The kinds of values that the configuration file takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from cloudtrain_site.conf.providers import is_one_word
from cloudtrain_site.conf.yaml_schema import Kind, Text

_WHOLE_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,12})?")
_DURATION = re.compile(r"([0-9]{1,5}) (hour|day|week)s?")
_UNITS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
_LONGEST = timedelta(days=36_500)
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def boolean() -> Kind:
    """Accept `true` or `false`."""
    return Kind("true or false", lambda text: _BOOLEANS[_plain(text).lower()], is_unquoted=True)


def whole_number(lowest: int, highest: int, unit: str = "") -> Kind:
    """Accept a whole number within bounds."""

    def read(text: Text) -> int:
        number = int(_plain(text)) if _WHOLE_NUMBER.fullmatch(_plain(text)) else lowest - 1
        if not lowest <= number <= highest:
            raise ValueError
        return number

    return Kind(f"a whole number{unit} from {lowest} to {highest}", read, is_unquoted=True)


def decimal(highest: int, unit: str = "") -> Kind:
    """Accept a number from 0 on, with or without a fraction, as a Decimal."""

    def read(text: Text) -> Decimal:
        number = Decimal(_plain(text)) if _DECIMAL.fullmatch(_plain(text)) else Decimal(-1)
        if not 0 <= number <= highest:
            raise ValueError
        return number

    return Kind(f"a number{unit} from 0 to {highest}, such as 0.0015", read, is_unquoted=True)


def duration(shortest: timedelta, *, may_be_forever: bool = True) -> Kind:
    """Accept a time with its unit, as a timedelta, or `forever`, as None."""

    def read(text: Text) -> timedelta | None:
        if may_be_forever and text.value == "forever":
            return None
        found = _DURATION.fullmatch(text.value)
        period = int(found[1]) * _UNITS[found[2]] if found else timedelta()
        if not shortest <= period <= _LONGEST:
            raise ValueError
        return period

    forever = ", or forever" if may_be_forever else ""
    return Kind(f"a time of an hour or more such as 36 hours, 30 days or 8 weeks{forever}", read)


def text_like(pattern: str, allowed: str, *, is_required: bool = False) -> Kind:
    """Accept a text that `pattern` matches in full."""
    shape = re.compile(pattern)

    def read(text: Text) -> str:
        if not shape.fullmatch(text.value):
            raise ValueError
        return text.value

    return Kind(allowed, read, is_required=is_required)


def short_text(longest: int) -> Kind:
    """Accept a text of one line."""

    def read(text: Text) -> str:
        if not text.value.isprintable() or text.value != text.value.strip() or not 0 < len(text.value) <= longest:
            raise ValueError
        return text.value

    return Kind(f"a text of at most {longest} characters", read)


def address(*, is_required: bool = False) -> Kind:
    """Accept scheme, host and port of an HTTP API; the value ends without a slash."""
    allowed = "http:// or https:// with a host and optionally a port, without a path, user or password"
    return Kind(allowed, lambda text: _base_of(text.value), is_required=is_required)


def absolute_path(what: str, *, is_required: bool = False) -> Kind:
    """Accept the absolute path of a file or folder, which need not exist."""

    def read(text: Text) -> Path:
        if not text.value.startswith("/") or not text.value.isprintable():
            raise ValueError
        return Path(text.value)

    return Kind(f"the absolute path of {what}", read, is_required=is_required)


def secret(file_key: str) -> Kind:
    """Accept one `${VAR}` that is not empty, nothing written in clear. `file_key` is the key for a file instead."""

    def read(text: Text) -> str:
        word = text.value.strip()
        if not word or not is_one_word(word):
            raise ValueError
        return word

    allowed = (
        f"${{NAME}}, where the environment variable NAME has the secret, one word; or name its file as `{file_key}`"
    )
    return Kind(allowed, read, is_secret=True)


def list_of_texts(allowed: str, accept: Callable[[list[str]], bool], *, is_required: bool = False) -> Kind:
    """Accept a list of texts for which `accept` returns True."""

    def read(items: list[Text]) -> tuple[str, ...]:
        values = [item.value for item in items]
        if not accept(values):
            raise ValueError
        return tuple(values)

    return Kind(allowed, read, is_list=True, is_required=is_required)


def _plain(text: Text) -> str:
    if text.is_quoted:
        raise ValueError
    return text.value


def _base_of(url: str) -> str:
    """Return the address without a slash at its end. Raises ValueError for one that is not allowed."""
    parts = urlsplit(url)
    has_host = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    has_more = "@" in url or parts.path.strip("/") or parts.query or parts.fragment
    if not has_host or has_more or not url.isprintable() or " " in url:
        raise ValueError
    return url.rstrip("/?#")
