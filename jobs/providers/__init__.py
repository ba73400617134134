"""The providers that there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobs.providers.base import Provider
from jobs.providers.local.provider import LocalProvider
from jobs.providers.replicate.provider import ReplicateProvider

_PROVIDERS: Mapping[str, Callable[[], Provider]] = {
    "local": LocalProvider.from_settings,
    "replicate": ReplicateProvider.from_settings,
}

NAMES = tuple(_PROVIDERS)
#: They delete a training's log soon after its end: we keep a copy, and read from that.
FORGETFUL = frozenset({"replicate"})


def get_provider(name: str) -> Provider:
    """The provider called `name`, with what is configured now. Raises KeyError for a name that there isn't."""
    return _PROVIDERS[name]()
