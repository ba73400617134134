"""The beginnings of texts without a limit, for lists and events. What is about one thing alone has all of them."""

from __future__ import annotations

from django.db.models.functions import Left

#: An error may have the whole output of a trainer, and a list 500 of them.
MAX_CHARACTERS = 300


def beginning(text: str) -> str:
    """Return `text`, or as much of it as a list shows, with an ellipsis."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def beginning_of(column: str) -> Left:
    """Return the expression for as much of a column as `beginning` needs, so that a query carries no more."""
    return Left(column, MAX_CHARACTERS + 1)
