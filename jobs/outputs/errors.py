"""Errors of copying results."""

from __future__ import annotations


class FetchError(Exception):
    """The message is a sentence. `permanent`: no other try will help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
