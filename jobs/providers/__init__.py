"""The providers that there are: each has a name, which jobs carry, and a kind, which is the code that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial

from django.utils.module_loading import import_string

from cloudtrain_site.conf.providers import Instance
from cloudtrain_site.enterprise import config_in_force
from jobs.providers.base import Provider, ProviderError
from jobs.providers.hardware_names import hardware_label

_KINDS: Mapping[str, str] = {
    "local": "jobs.providers.local.provider.LocalProvider",
    "replicate": "jobs.providers.replicate.provider.ReplicateProvider",
    "ray": "jobs.providers.ray.provider.RayProvider",
    "slurm": "jobs.providers.slurm.provider.SlurmProvider",
}


def _build(kind: str, name: str) -> Provider:
    """Return the provider `name`, built from the settings in force. Its class is imported on first use."""
    provider: Provider = import_string(_KINDS[kind]).from_settings(name)
    return provider


#: There from the start, each with the name of its kind; the default is the first.
_PROVIDERS: Mapping[str, Callable[[], Provider]] = {
    kind: partial(_build, kind, kind) for kind in ("local", "replicate")
}
#: These kinds delete a training's log soon after its end, so we keep a copy and read from that.
_DELETES_LOGS = frozenset({"replicate", "ray"})
#: These kinds delete what a training made soon after its end.
_DELETES_OUTPUTS = frozenset({"replicate"})
#: These kinds end a training by themselves when it takes much longer than its estimate.
_LIMITS_TIME = frozenset({"slurm"})


class UnknownProviderError(ProviderError):
    """There is no provider of this name: it was taken out of the settings while it had jobs, and may be back."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no provider “{name}” any more.", nothing_created=True)


def kinds_by_name() -> Mapping[str, str]:
    """Return the kind of each provider that there is now, by its name; the default comes first, declared ones last."""
    return {name: name for name in _PROVIDERS} | {name: one.kind for name, one in config_in_force().instances.items()}


def instance_of(name: str) -> Instance:
    """Return what the configuration file declares of the provider `name`. Raises UnknownProviderError."""
    instance = config_in_force().instances.get(name)
    if instance is None:
        raise UnknownProviderError(name)
    return instance


def declared_prices(name: str) -> Mapping[str, Decimal]:
    """Return the prices that the configuration file gives a provider, in US dollars a second, by hardware profile."""
    instance = config_in_force().instances.get(name)
    return instance.prices if instance else {}


def names() -> tuple[str, ...]:
    return tuple(kinds_by_name())


def find_kind(name: str) -> str | None:
    """Return the kind of a provider; None when there is no such provider now."""
    if name in _PROVIDERS:
        return name  # of each delivery of a webhook this is asked: without a look at the file
    instance = config_in_force().instances.get(name)
    return instance.kind if instance else None


def kind_of(name: str) -> str:
    """Return the kind of a provider that there is. Raises UnknownProviderError."""
    kind = find_kind(name)
    if kind is None:
        raise UnknownProviderError(name)
    return kind


def names_of_kind(kind: str) -> list[str]:
    return [name for name, its_kind in kinds_by_name().items() if its_kind == kind]


def deletes_logs(name: str) -> bool:
    return find_kind(name) in _DELETES_LOGS


def limits_time(name: str) -> bool:
    return find_kind(name) in _LIMITS_TIME


def names_deleting_logs() -> list[str]:
    return [name for name, kind in kinds_by_name().items() if kind in _DELETES_LOGS]


def names_deleting_outputs() -> list[str]:
    return [name for name, kind in kinds_by_name().items() if kind in _DELETES_OUTPUTS]


def get_provider(name: str) -> Provider:
    """Return the provider called `name`, built from the settings in force. Raises UnknownProviderError."""
    if name in _PROVIDERS:
        return _PROVIDERS[name]()
    return _build(kind_of(name), name)


def label_of(name: str) -> str:
    """Return the name to show for a provider, also for one that there is no more."""
    if name in _PROVIDERS:
        return get_provider(name).label
    instance = config_in_force().instances.get(name)
    return instance.label if instance else name


def place_of(provider_label: str, hardware: str) -> str:
    """Return where a job runs: Replicate, gpu-t4."""
    return ", ".join(filter(None, [provider_label, hardware_label(hardware)]))
