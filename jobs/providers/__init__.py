"""The providers that there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobs.providers.base import Provider
from jobs.providers.local import LocalProvider

_PROVIDERS: Mapping[str, Callable[[], Provider]] = {
    "local": LocalProvider.from_settings,
}

NAMES = tuple(_PROVIDERS)


def get_provider(name: str) -> Provider:
    """The provider called `name`, with what is configured now. Raises KeyError for a name that there isn't."""
    return _PROVIDERS[name]()
