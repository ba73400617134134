"""Stored configs and providers over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cloudtrain_site.api import current_user
from cloudtrain_site.redaction import mask_secrets
from jobs.api.serializers import (
    DoneShape,
    ProviderListShape,
    ProviderSettingsBody,
    ProviderSettingsShape,
    StoredConfigBody,
    StoredConfigListShape,
    StoredConfigShape,
    ValidationShape,
    as_utc,
)
from jobs.configs.store import MaskedError, find_config, remove_config, store_config, visible_configs
from jobs.models import ProviderConfig, TrainingConfig
from jobs.permissions import can_submit, choose_organization, is_superuser
from jobs.providers import NAMES, get_provider
from jobs.providers.base import ProviderError
from jobs.providers.settings import change_settings
from jobs.validators import NAME_LIMIT, plain_name


def _represent(config: TrainingConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "organization": config.organization.name,
        "config": mask_secrets(config.config),
        "dataloader_config": mask_secrets(config.dataloader_config),
        "updated_at": as_utc(config.updated_at),
    }


class ConfigList(APIView):
    """The stored configs of the asker's organizations."""

    @extend_schema(operation_id="configs_list", responses=StoredConfigListShape)
    def get(self, request: Request) -> Response:
        return Response({"configs": [_represent(config) for config in visible_configs(request.user)]})


def _check_name(name: str) -> None:
    if len(name) > NAME_LIMIT:
        raise exceptions.ValidationError({"name": f"A name may have at most {NAME_LIMIT} characters."})
    try:
        plain_name(name)
    except ValidationError as error:
        raise exceptions.ValidationError({"name": error.messages}) from error


class ConfigDetail(APIView):
    """One stored config."""

    def _find(self, request: Request, name: str) -> TrainingConfig:
        config = None if "\x00" in name else find_config(request.user, name)
        if config is None:
            raise Http404
        return config

    @extend_schema(responses=StoredConfigShape)
    def get(self, request: Request, name: str) -> Response:
        return Response(_represent(self._find(request, name)))

    @extend_schema(request=StoredConfigBody, responses=StoredConfigShape)
    def put(self, request: Request, name: str) -> Response:
        body = StoredConfigBody(data=request.data)
        body.is_valid(raise_exception=True)
        _check_name(name)
        organization = choose_organization(request.user, body.validated_data["organization"])
        given, dataloader = body.validated_data["config"], body.validated_data["dataloader_config"]
        try:
            config, is_new = store_config(current_user(request), organization, name, given, dataloader)
        except MaskedError as error:
            raise exceptions.ValidationError({"config": str(error)}) from None
        return Response(_represent(config), status=201 if is_new else 200)

    @extend_schema(responses=DoneShape)
    def delete(self, request: Request, name: str) -> Response:
        config = self._find(request, name)
        if not can_submit(request.user, config.organization):
            raise exceptions.PermissionDenied("A viewer may look at configs, not remove them.")
        remove_config(config)
        return Response({"success": True, "name": name})


def _describe(name: str, config: ProviderConfig) -> dict[str, Any]:
    provider = get_provider(name)
    hardware = list(provider.hardware())
    return {
        "name": name,
        "label": provider.label,
        "enabled": config.enabled,
        "hardware": hardware,
        "default_hardware": config.default_hardware or hardware[0],
        "cost_per_second": config.cost_per_second,
        "prices_as_of": config.prices_as_of,
        "webhook_url": config.webhook_url or None,
    }


class ProviderList(APIView):
    """The providers, and what they charge."""

    @extend_schema(responses=ProviderListShape)
    def get(self, request: Request) -> Response:
        configs = ProviderConfig.objects.in_bulk(NAMES)
        described = [_describe(name, configs.get(name) or ProviderConfig(name=name)) for name in NAMES]
        return Response({"providers": described})


class ProviderSettings(APIView):
    """What an admin sets for a provider. It holds for everybody here, so a superuser's word is needed."""

    @extend_schema(request=ProviderSettingsBody, responses=ProviderSettingsShape)
    def put(self, request: Request, name: str) -> Response:
        if not is_superuser(request.user):
            raise exceptions.PermissionDenied("Only superusers set providers: they are shared by all organizations.")
        if name not in NAMES:
            raise Http404
        body = ProviderSettingsBody(data=request.data)
        body.is_valid(raise_exception=True)
        config = change_settings(name, body.validated_data)
        organization = config.discovery_organization
        return Response(
            {
                **_describe(name, config),
                "webhook_networks": config.webhook_networks.split(),
                "signature_required": config.signature_required,
                "model_version": config.model_version,
                "seconds_per_step": config.seconds_per_step,
                "silence_minutes": config.silence_minutes,
                "webhooks_missed_at": as_utc(config.webhooks_missed_at),
                "discovery_organization": organization.name if organization else None,
            }
        )


class ProviderValidation(APIView):
    """Whether a provider would take a job now."""

    @extend_schema(responses=ValidationShape)
    def get(self, request: Request, name: str) -> Response:
        if name not in NAMES:
            raise Http404
        try:
            return Response({"valid": True, "message": asyncio.run(get_provider(name).validate())})
        except ProviderError as error:
            return Response({"valid": False, "message": str(error)})
