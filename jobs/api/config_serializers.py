"""The request bodies and answers of stored configs and providers."""

from __future__ import annotations

from functools import cached_property
from ipaddress import ip_network
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cloudtrain_site.api import OptionalTextField, StrictSerializer, SuccessField, UtcField
from cloudtrain_site.redaction import mask_secrets
from jobs.api.serializers import FindingSerializer, ProviderField
from jobs.api.submission_serializers import ConfigField, keepable
from jobs.costs.prices import rates_of, setter_of
from jobs.models import ClusterLook, ProviderConfig, TrainingConfig
from jobs.models.provider import HIGHEST_PRICE_PER_SECOND
from jobs.providers import get_provider, kind_of
from jobs.providers.figures import LONGEST_SECONDS
from jobs.providers.settings import default_hardware
from jobs.sync.clusters import cluster_names, view_of
from jobs.sync.readiness import why_not_now
from jobs.validators import holds_no_secret


class StoredConfigBody(StrictSerializer):
    """A config to be stored under a name."""

    config = ConfigField()
    dataloader_config = serializers.ListField(default=list, validators=[keepable])
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)


class StoredConfigSerializer(serializers.Serializer[TrainingConfig]):
    """A stored config; its secrets are masked."""

    name = serializers.CharField()
    organization = serializers.CharField(source="organization.name")
    config = serializers.SerializerMethodField()
    dataloader_config = serializers.SerializerMethodField()
    updated_at = UtcField()

    def get_config(self, stored: TrainingConfig) -> dict[str, Any]:
        masked: dict[str, Any] = mask_secrets(stored.config)
        return masked

    def get_dataloader_config(self, stored: TrainingConfig) -> list[Any]:
        masked: list[Any] = mask_secrets(stored.dataloader_config)
        return masked


class StoredConfigListSerializer(serializers.Serializer[Any]):
    """The stored configs."""

    configs = StoredConfigSerializer(many=True)


class ConfigQuery(StrictSerializer):
    """Whose config is meant where several of the asker's organizations have one of this name."""

    organization = serializers.CharField(
        max_length=100, default="", allow_blank=True, help_text="Empty: all of your organizations."
    )


class ConfigCheckQuery(ConfigQuery):
    """The provider that the config is meant for."""

    provider = ProviderField(default="local")


class ConfigCheckSerializer(serializers.Serializer[Any]):
    """Whether a job can be made from a stored config."""

    valid = serializers.BooleanField()
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]
    warnings = serializers.ListField(child=serializers.CharField())
    config_warnings = FindingSerializer(many=True)


class RemovedConfigSerializer(serializers.Serializer[TrainingConfig]):
    """The removed config."""

    success = SuccessField()
    name = serializers.CharField()


class ProviderSettingsBody(StrictSerializer):
    """An admin's settings of a provider; a missing field stays unchanged."""

    enabled = serializers.BooleanField(required=False)
    webhook_url = serializers.URLField(max_length=500, required=False, allow_blank=True, validators=[holds_no_secret])
    webhook_networks = serializers.ListField(child=serializers.CharField(max_length=50), required=False)
    signature_required = serializers.BooleanField(required=False)
    model_version = serializers.CharField(max_length=200, required=False, allow_blank=True)
    default_hardware = serializers.CharField(max_length=40, required=False, allow_blank=True)
    cost_per_second = serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=HIGHEST_PRICE_PER_SECOND), required=False
    )
    seconds_per_step = serializers.FloatField(
        min_value=0,
        max_value=LONGEST_SECONDS,
        required=False,
        help_text="The shortest time of a step at batch size 1. Estimates multiply it by batch size and accumulation.",
    )
    silence_minutes = serializers.IntegerField(min_value=0, max_value=100_000, required=False)
    discovery_organization = serializers.CharField(max_length=100, required=False, allow_null=True)

    def validate_webhook_networks(self, networks: list[str]) -> list[str]:
        """Each is one that `ipaddress` knows."""
        for network in networks:
            try:
                ip_network(network, strict=False)
            except ValueError as error:
                raise serializers.ValidationError(f"“{network}” is not a network such as 10.0.0.0/8.") from error
        return networks


class ProfileSerializer(serializers.Serializer[Any]):
    """A hardware profile, its price, and whether it can run a job now."""

    name = serializers.CharField()
    cost_per_second = serializers.FloatField(
        allow_null=True, help_text="US dollars per second. 0: your own hardware; null: no price is set."
    )
    price_set_by = serializers.ChoiceField(
        ["operator", "file"],
        allow_null=True,
        help_text="Operator: through the API or in the admin. File: in the configuration file.",
    )
    can_run_now = serializers.BooleanField()
    why_not_now = serializers.CharField(help_text="Why it can't run a job now, as far as is known; empty if it can.")


class ProviderSerializer(serializers.Serializer[ProviderConfig]):
    """A provider."""

    name = serializers.CharField()
    kind = serializers.SerializerMethodField()
    label = serializers.SerializerMethodField()  # type: ignore[assignment]
    enabled = serializers.BooleanField()
    can_run_now = serializers.SerializerMethodField()
    why_not_now = serializers.SerializerMethodField()
    hardware = serializers.SerializerMethodField()
    profiles = serializers.SerializerMethodField()
    default_hardware = serializers.SerializerMethodField()
    cost_per_second = serializers.SerializerMethodField()
    prices_as_of = serializers.DateField(allow_null=True, help_text="When its prices were last looked up.")
    webhook_url = OptionalTextField()

    @cached_property
    def _looks(self) -> dict[str, ClusterLook]:
        """The last looks at the clusters: one query for a whole list."""
        return ClusterLook.objects.in_bulk(cluster_names())

    def get_kind(self, config: ProviderConfig) -> str:
        return kind_of(config.name)

    def get_can_run_now(self, config: ProviderConfig) -> bool:
        return not self.get_why_not_now(config)

    def get_why_not_now(self, config: ProviderConfig) -> str:
        return why_not_now(config, self._looks.get(config.name))

    @extend_schema_field(ProfileSerializer(many=True))
    def get_profiles(self, config: ProviderConfig) -> list[dict[str, Any]]:
        why_none, look = self.get_why_not_now(config), self._looks.get(config.name)
        prices = self.get_cost_per_second(config)
        view = view_of(look) if look is not None and look.is_fresh else None
        reasons = {name: (view.unrunnable.get(name) if view else "") or why_none for name in self.get_hardware(config)}
        return [
            {
                "name": name,
                "cost_per_second": prices.get(name),
                "price_set_by": setter_of(config, name),
                "can_run_now": not why,
                "why_not_now": why,
            }
            for name, why in reasons.items()
        ]

    def get_cost_per_second(self, config: ProviderConfig) -> dict[str, float]:
        """US dollars per second, by hardware profile: the operator's price, or else the configuration file's."""
        return {profile: float(rate) for profile, rate in rates_of(config).items()}

    def get_label(self, config: ProviderConfig) -> str:
        return get_provider(config.name).label

    def get_hardware(self, config: ProviderConfig) -> list[str]:
        return list(get_provider(config.name).hardware())

    def get_default_hardware(self, config: ProviderConfig) -> str:
        return default_hardware(config, self.get_hardware(config))


class ProviderListSerializer(serializers.Serializer[Any]):
    """The providers."""

    providers = ProviderSerializer(many=True)


class ProviderSettingsSerializer(ProviderSerializer):
    """A provider with all of its settings, for its admins."""

    webhook_networks = serializers.SerializerMethodField()
    signature_required = serializers.BooleanField()
    model_version = serializers.CharField()
    seconds_per_step = serializers.FloatField()
    silence_minutes = serializers.IntegerField()
    webhooks_missed_at = UtcField(allow_null=True)
    discovery_organization = serializers.CharField(source="discovery_organization.name", allow_null=True)

    def get_webhook_networks(self, config: ProviderConfig) -> list[str]:
        return config.webhook_networks.split()


class ValidationSerializer(serializers.Serializer[Any]):
    """Whether a provider would take a job now."""

    valid = serializers.BooleanField()
    message = serializers.CharField()
    error = serializers.CharField(
        allow_null=True, help_text="The message if it is not valid, for SimpleTuner's command line."
    )


class PricedHardwareSerializer(serializers.Serializer[Any]):
    """A hardware profile with its price."""

    name = serializers.CharField()
    cost_per_second = serializers.FloatField()


class HardwareInfoSerializer(serializers.Serializer[Any]):
    """The hardware profiles that have a price, by name."""

    hardware_info = serializers.DictField(child=PricedHardwareSerializer())
