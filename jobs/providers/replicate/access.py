"""Replicate's address and errors. Imports no HTTP library: those are 12 MB a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobs.providers.base import ProviderError

DEFAULT_BASE = "https://api.replicate.com"


class ReplicateError(ProviderError):
    """A refusal by Replicate, or no answer. `is_general`: any other request would have failed the same way."""

    def __init__(self, message: str, *, code: int | None = None, is_general: bool = False, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.code = code
        self.is_general = is_general


@dataclass(frozen=True, slots=True)
class Access:
    base: str
    token: str

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port: the token is sent nowhere else."""
        return origin_of(self.base)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return the scheme, host and port of an address. Raises ValueError for an invalid one."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)
