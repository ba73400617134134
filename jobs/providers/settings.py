"""An operator's settings of a provider. Every process reads them anew, so a change needs no restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils import timezone
from rest_framework.exceptions import ValidationError

from cloudtrain_site.audit.recording import differences, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor
from jobs.models import Organization, ProviderConfig
from jobs.providers import get_provider, names_of_kind


def change_settings(name: str, options: dict[str, Any], *, by: User | Actor) -> ProviderConfig:
    """Store the given settings of the provider `name`; the others stay. Raises ValidationError for an invalid one."""
    fields = dict(options)
    _check_webhook_url(name, fields.get("webhook_url", ""))
    _check_hardware(name, [fields.get("default_hardware", ""), *fields.get("cost_per_second", {})])
    if "webhook_networks" in fields:
        fields["webhook_networks"] = "\n".join(fields["webhook_networks"])
    if "discovery_organization" in fields:
        fields["discovery_organization"] = _organization(fields["discovery_organization"])
    if "cost_per_second" in fields:
        fields["prices_as_of"] = timezone.now().date()
    with unit_of_work():
        former = ProviderConfig.objects.select_for_update(of=("self",)).filter(name=name).first() or ProviderConfig(
            name=name
        )
        config, _ = ProviderConfig.objects.update_or_create(name=name, defaults=fields)
        record_change(former, config, by=by)
    return config


def record_change(former: ProviderConfig, config: ProviderConfig, *, by: User | Actor) -> None:
    """Put on record what differs between two states of a provider's settings; nothing when nothing does."""
    before, after = differences(_settings_of(former), _settings_of(config))
    if after:
        record("provider_changed", config, by=by, before=before, after=after)


def _settings_of(config: ProviderConfig) -> dict[str, Any]:
    columns = [field.attname for field in ProviderConfig._meta.fields if field.editable and not field.primary_key]
    return {
        name: getattr(config, name) for name in columns if name not in ("updated_at", "discovery_organization_id")
    } | {"discovery_organization": str(config.discovery_organization or "")}


def names_with_webhooks() -> set[str]:
    """Return the providers whose webhooks tell of every change, so that nobody needs to ask."""
    addressed = ProviderConfig.objects.filter(enabled=True).exclude(webhook_url="").values_list("name", flat=True)
    return set(addressed) & set(names_of_kind("replicate"))


def default_hardware(config: ProviderConfig, known: Sequence[str]) -> str:
    """Return the profile of a job that names none: the operator's choice while there is one, or the first."""
    return config.default_hardware if config.default_hardware in known else known[0]


def _check_hardware(name: str, profiles: list[str]) -> None:
    offered = get_provider(name).hardware()
    unknown = [hardware for hardware in profiles if hardware and hardware not in offered]
    if unknown:
        raise ValidationError({"hardware": f"{name} has no “{unknown[0]}”. It has: {', '.join(offered)}."})


def _check_webhook_url(name: str, url: str) -> None:
    try:
        ProviderConfig(name=name, webhook_url=url).clean()
    except DjangoValidationError as error:
        raise ValidationError(error.message_dict) from error


def _organization(name: str | None) -> Organization | None:
    if name is None:
        return None
    organization = Organization.objects.filter(name=name).first()
    if organization is None:
        raise ValidationError({"discovery_organization": f"There is no organization called “{name}”."})
    return organization
