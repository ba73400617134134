"""Replicate's address and errors. Imports no HTTP library: those are 12 MB a process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.providers import is_one_word
from jobs.providers import instance_of
from jobs.providers.base import ProviderError

#: What trainings made is there, below a name of its own for each.
FILE_HOST = "replicate.delivery"
DEFAULT_BASE = "https://api.replicate.com"
_VARIABLE = "REPLICATE_API_TOKEN"


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
    #: Why there is no token, as a sentence, and whether one may come without a restart.
    no_token: str = f"{_VARIABLE} is not set."
    token_may_come: bool = False

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port: the token is sent nowhere else."""
        return origin_of(self.base)

    def serves(self, address: str) -> bool:
        """Whether the address of a file is on this origin, or on Replicate's host for files."""
        try:
            scheme, host, port = origin_of(address)
        except ValueError:
            return False
        is_file_host = scheme == "https" and port == 443 and f".{host}".endswith(f".{FILE_HOST}")
        return is_file_host or (scheme, host, port) == self.origin


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return the scheme, host and port of an address. Raises ValueError for an invalid one."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def access_of(name: str) -> Access:
    """Return the access of the provider `name`: the environment's, or an instance's. Raises UnknownProviderError."""
    if name == "replicate":
        base = os.environ.get("REPLICATE_BASE_URL") or DEFAULT_BASE
        token = os.environ.get(_VARIABLE, "").strip()
        if not is_one_word(token):
            return Access(base.rstrip("/"), "", f"{_VARIABLE} is not set to a single word.")
        return Access(base.rstrip("/"), token)
    instance = instance_of(name)
    try:
        token, problem = instance.token.read(), f"{instance.token.file} is empty."
    except ConfigurationError as error:
        token, problem = "", str(error)
    return Access(
        instance.address or DEFAULT_BASE, token, f"{instance.label} has no token: {problem}", token_may_come=True
    )
