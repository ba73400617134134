"""The providers that there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.utils.module_loading import import_string

from jobs.providers.base import Provider


def _configured(path: str) -> Callable[[], Provider]:
    """The class at a dotted path, imported with the first question, with what is configured now."""
    return lambda: import_string(path).from_settings()


_PROVIDERS: Mapping[str, Callable[[], Provider]] = {
    "local": _configured("jobs.providers.local.provider.LocalProvider"),
    "replicate": _configured("jobs.providers.replicate.provider.ReplicateProvider"),
}

NAMES = tuple(_PROVIDERS)
#: They delete a training's log soon after its end: we keep a copy, and read from that.
DELETES_LOGS = frozenset({"replicate"})


def get_provider(name: str) -> Provider:
    """The provider called `name`, with what is configured now. Raises KeyError for a name that there isn't."""
    return _PROVIDERS[name]()
