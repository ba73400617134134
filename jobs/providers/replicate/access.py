"""Where Replicate is, and how it says no. Imports no HTTP library: those are 12 MB a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobs.providers.base import ProviderError

DEFAULT_BASE = "https://api.replicate.com"


class ReplicateError(ProviderError):
    """What Replicate said or didn't. `is_general`: every other request would have met the same."""

    def __init__(self, message: str, *, code: int | None = None, is_general: bool = False, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.code = code
        self.is_general = is_general


@dataclass(frozen=True, slots=True)
class Access:
    """Where Replicate is, and the token that opens it."""

    base: str
    token: str

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port: nothing is sent anywhere else."""
        return origin_of(self.base)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """The scheme, host and port of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)
