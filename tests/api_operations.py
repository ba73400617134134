"""Every operation of the API, as its views say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.regex_helper import normalize

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method of one address; `path` has `%(name)s` where something is filled in."""

    path: str
    method: str
    view: Any


def operations(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[Operation]:
    """Every method that a view of the API answers."""
    for item in (resolver or get_resolver()).url_patterns:
        [(path, _), *_] = normalize(item.pattern.regex.pattern)
        if isinstance(item, URLResolver):
            yield from operations(item, prefix + path)
        elif hasattr(item.callback, "cls"):
            yield from _of_view(item, prefix + path)


def _of_view(item: URLPattern, path: str) -> Iterator[Operation]:
    callback: Any = item.callback
    view = callback.cls(**getattr(callback, "initkwargs", {}))
    view.action_map = getattr(callback, "actions", None)
    for method in METHODS:
        if method in (view.action_map or {}) or (view.action_map is None and hasattr(view, method)):
            yield Operation(path, method, view)
