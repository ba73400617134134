"""The registered providers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.utils.module_loading import import_string

from jobs.providers.base import Provider


def _configured(path: str) -> Callable[[], Provider]:
    """Return a factory that imports the class at `path` on first use and builds it from the settings in force."""
    return lambda: import_string(path).from_settings()


_PROVIDERS: Mapping[str, Callable[[], Provider]] = {
    "local": _configured("jobs.providers.local.provider.LocalProvider"),
    "replicate": _configured("jobs.providers.replicate.provider.ReplicateProvider"),
}

NAMES = tuple(_PROVIDERS)
#: These providers delete a training's log soon after its end, so we keep a copy and read from that.
DELETES_LOGS = frozenset({"replicate"})


def get_provider(name: str) -> Provider:
    """Return the provider called `name`, built from the settings in force. Raises KeyError for an unknown name."""
    return _PROVIDERS[name]()
