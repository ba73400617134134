"""A provider's settings by the names of SimpleTuner's command line: `cloud config` and `cloud cost-limit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered
from cloudtrain_site.compatibility.elsewhere import SIMPLETUNER, NotHereError
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictView
from jobs.api.config_serializers import HardwareInfoSerializer, ProviderSettingsBody
from jobs.costs.prices import rates_of
from jobs.models import ProviderConfig
from jobs.permissions import is_superuser
from jobs.providers import names
from jobs.providers.settings import change_settings
from queueing.api.serializers import AmountField
from queueing.compatibility.cost_limits import change_limit, limit_of

#: SimpleTuner's names of settings, and ours.
SETTINGS: Mapping[str, str] = {
    "webhook_allowed_ips": "webhook_networks",
    "webhook_require_signature": "signature_required",
    "version_override": "model_version",
}
LIMITS = ("cost_limit_enabled", "cost_limit_amount", "cost_limit_period", "cost_limit_action")


class ProviderConfigBody(ProviderSettingsBody):
    """The fields to change, by cloudtrain's or SimpleTuner's names. A cost limit is stored as a budget."""

    webhook_require_signature = serializers.BooleanField(required=False)
    webhook_allowed_ips = serializers.ListField(child=serializers.CharField(max_length=50), required=False)
    version_override = serializers.CharField(max_length=200, required=False, allow_blank=True)
    cost_limit_enabled = serializers.BooleanField(required=False)
    cost_limit_amount = AmountField(required=False)
    cost_limit_period = serializers.CharField(max_length=20, required=False)
    cost_limit_action = serializers.CharField(max_length=20, required=False)

    def validate_webhook_allowed_ips(self, networks: list[str]) -> list[str]:
        """As `webhook_networks`."""
        return self.validate_webhook_networks(networks)


class ProviderFiguresSerializer(HardwareInfoSerializer):
    """The hardware that has a price, the budget as a cost limit, and for superusers the settings."""

    cost_limit_enabled = serializers.BooleanField()
    cost_limit_amount = serializers.FloatField()
    cost_limit_period = serializers.CharField(required=False)
    cost_limit_action = serializers.CharField(required=False)
    enabled = serializers.BooleanField(required=False)
    webhook_url = serializers.CharField(required=False)
    webhook_allowed_ips = serializers.ListField(child=serializers.CharField(), required=False)
    webhook_require_signature = serializers.BooleanField(required=False)
    version_override = serializers.CharField(required=False)
    default_hardware = serializers.CharField(required=False)


class ProviderConfigSerializer(serializers.Serializer[Any]):
    """A provider's configuration, as SimpleTuner's command line expects it."""

    config = ProviderFiguresSerializer()


class ProviderConfigView(StrictView):
    schema_tag = SIMPLETUNER

    @extend_schema(operation_id="provider_config", responses=ProviderConfigSerializer)
    def get(self, request: Request, name: str) -> Response:
        """List priced hardware and the cost limit."""
        return _answer(request, _known(name))

    @extend_schema(
        operation_id="change_provider_config", request=ProviderConfigBody, responses=ProviderConfigSerializer
    )
    @raises(Conflict, NotHereError)
    @needs(Scope.ADMINISTER)
    def put(self, request: Request, name: str) -> Response:
        """Change a provider's settings or the cost limit.

        The limit is a budget over all providers: a superuser sets the site's, an admin their organization's.
        """
        _known(name)
        body = checked(ProviderConfigBody, request.data)
        limits = {key: body.pop(key) for key in LIMITS if key in body}
        if (body or not limits) and not is_superuser(request.user):
            raise PermissionDenied("Only superusers can change providers: all organizations share them.")
        with unit_of_work():
            if body or not limits:
                change_settings(name, {SETTINGS.get(key, key): body[key] for key in body}, by=current_user(request))
            if limits:
                change_limit(current_user(request), limits)
        return _answer(request, name)


def _known(name: str) -> str:
    if name not in names():
        raise Http404
    return name


def _answer(request: Request, name: str) -> Response:
    stored = ProviderConfig.of(name)
    hardware = {profile: {"name": profile, "cost_per_second": rate} for profile, rate in rates_of(stored).items()}
    config: dict[str, Any] = {"hardware_info": hardware, **limit_of(current_user(request))}
    if is_superuser(request.user):
        config |= {key: getattr(stored, key) for key in ("enabled", "webhook_url", "default_hardware")}
        config |= {name: getattr(stored, ours) for name, ours in SETTINGS.items()}
        config["webhook_allowed_ips"] = stored.webhook_networks.split()
    return rendered(ProviderConfigSerializer, {"config": config})
