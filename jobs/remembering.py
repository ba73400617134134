"""Answers that a page of the admin asks for many times over, kept for the length of one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.http import HttpRequest

T = TypeVar("T")


def remembered(request: HttpRequest, name: str, answer: Callable[[], T]) -> T:
    """What `answer` says, asked once a request. The sidebar alone asks every model four times who may see it."""
    kept: dict[str, T] = request.__dict__.setdefault("_remembered", {})
    if name not in kept:
        kept[name] = answer()
    return kept[name]
