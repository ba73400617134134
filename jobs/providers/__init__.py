"""The providers that there are: each has a name, which jobs carry, and a kind, which is the code that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from django.utils.module_loading import import_string

from jobs.providers.base import Provider, ProviderError

_KINDS: Mapping[str, str] = {
    "local": "jobs.providers.local.provider.LocalProvider",
    "replicate": "jobs.providers.replicate.provider.ReplicateProvider",
}


def _build(kind: str, name: str) -> Provider:
    """Return the provider `name`, built from the settings in force. Its class is imported on first use."""
    provider: Provider = import_string(_KINDS[kind]).from_settings(name)
    return provider


#: Each kind has a provider of its own name from the start; the default is the first.
_PROVIDERS: Mapping[str, Callable[[], Provider]] = {kind: partial(_build, kind, kind) for kind in _KINDS}
#: These kinds delete a training's log soon after its end, so we keep a copy and read from that.
_DELETES_LOGS = frozenset({"replicate"})


class UnknownProviderError(ProviderError):
    """There is no provider of this name: it was taken out of the settings while it had jobs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no provider {name!r} any more.", permanent=True, nothing_created=True)


def kinds_by_name() -> Mapping[str, str]:
    """Return the kind of each provider that there is now, by its name; the default comes first."""
    return {name: name for name in _PROVIDERS}


def names() -> tuple[str, ...]:
    return tuple(kinds_by_name())


def kind_of(name: str) -> str:
    """Return the kind of a provider that there is. Raises UnknownProviderError."""
    kind = kinds_by_name().get(name)
    if kind is None:
        raise UnknownProviderError(name)
    return kind


def names_of_kind(kind: str) -> list[str]:
    return [name for name, its_kind in kinds_by_name().items() if its_kind == kind]


def deletes_logs(name: str) -> bool:
    return kinds_by_name().get(name) in _DELETES_LOGS


def names_deleting_logs() -> list[str]:
    return [name for name, kind in kinds_by_name().items() if kind in _DELETES_LOGS]


def get_provider(name: str) -> Provider:
    """Return the provider called `name`, built from the settings in force. Raises UnknownProviderError."""
    if name not in _PROVIDERS:
        raise UnknownProviderError(name)
    return _PROVIDERS[name]()


def label_of(name: str) -> str:
    """Return the name to show for a provider, also for one that there is no more."""
    return get_provider(name).label if name in kinds_by_name() else name
