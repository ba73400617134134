"""Stored configs and providers over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import checked, current_user, raises, rendered, takes
from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.config_serializers import (
    ConfigCheckQuery,
    ConfigCheckSerializer,
    ConfigQuery,
    ProviderListSerializer,
    ProviderSettingsBody,
    ProviderSettingsSerializer,
    RemovedConfigSerializer,
    StoredConfigBody,
    StoredConfigListSerializer,
    StoredConfigSerializer,
    ValidationSerializer,
)
from jobs.configs.known_keys import Finding
from jobs.configs.reading import read_config
from jobs.configs.secrets import unsealed_columns
from jobs.configs.store import MaskedError, remove_config, store_config, visible_configs
from jobs.models import ProviderConfig, TrainingConfig
from jobs.permissions import AnyUser, can_submit, choose_organization, is_superuser
from jobs.providers import names
from jobs.providers.base import ProviderError
from jobs.providers.inspection import findings_on, objections_to, remarks_on
from jobs.providers.settings import change_settings
from jobs.sync import clusters
from jobs.validators import NAME_LIMIT, plain_name


class ConfigViewSet(StrictViewSet):
    """The stored configs of the asker's organizations."""

    lookup_url_kwarg = "name"

    @extend_schema(operation_id="configs_list", responses=StoredConfigListSerializer)
    @takes(ConfigQuery)
    def list(self, request: Request) -> Response:
        """List stored configs."""
        configs = _among(request.user, self.query)
        return rendered(StoredConfigListSerializer, {"configs": configs})

    @extend_schema(responses=StoredConfigSerializer)
    @takes(ConfigQuery)
    def retrieve(self, request: Request, name: str) -> Response:
        """Show a stored config."""
        return rendered(StoredConfigSerializer, _found(request.user, name, self.query)[0])

    @extend_schema(request=StoredConfigBody, responses={200: StoredConfigSerializer, 201: StoredConfigSerializer})
    @needs(Scope.SUBMIT)
    def update(self, request: Request, name: str) -> Response:
        """Store a config."""
        body = checked(StoredConfigBody, request.data)
        _check_name(name)
        organization = choose_organization(request.user, body["organization"])
        new_config, dataloader = body["config"], body["dataloader_config"]
        try:
            config, is_new = store_config(current_user(request), organization, name, new_config, dataloader)
        except MaskedError as error:
            raise exceptions.ValidationError({"config": str(error)}) from None
        return rendered(StoredConfigSerializer, config, status=201 if is_new else 200)

    @extend_schema(request=None, responses=ConfigCheckSerializer)
    @action(methods=["post"], detail=True)
    @needs(Scope.READ)
    @takes(ConfigCheckQuery)
    def validate(self, request: Request, name: str) -> Response:
        """Check whether a job can be made from a stored config.

        Nothing is stored, and the provider is not asked.
        """
        provider, stored = self.query["provider"], _found(request.user, name, self.query)[0]
        try:
            columns = unsealed_columns(stored)
        except SecretsLostError as error:
            return rendered(ConfigCheckSerializer, _check(errors=[str(error)]))
        errors = objections_to(provider, columns["config"], columns["dataloader_config"])
        findings = findings_on(provider, columns["config"], columns["dataloader_config"])
        reading = read_config(columns["config"], columns["dataloader_config"])
        remarks = remarks_on(provider, columns["config"], reading, to_superuser=is_superuser(request.user))
        warnings = [*remarks, *(finding.text for finding in findings)]
        return rendered(ConfigCheckSerializer, _check(errors, warnings, findings))

    @extend_schema(responses={200: RemovedConfigSerializer})
    @raises(Conflict)
    @needs(Scope.SUBMIT)
    @takes(ConfigQuery)
    def destroy(self, request: Request, name: str) -> Response:
        """Remove a stored config."""
        config, *others = _found(request.user, name, self.query)
        if others:
            names = ", ".join(str(found.organization) for found in (config, *others))
            raise Conflict(f"Several organizations have a config “{name}”: {names}. Choose one with `organization`.")
        if not can_submit(request.user, config.organization):
            raise exceptions.PermissionDenied("Viewers can't delete configs.")
        remove_config(config, by=current_user(request))
        return rendered(RemovedConfigSerializer, config)


def _among(user: AnyUser, query: dict[str, Any]) -> QuerySet[TrainingConfig]:
    configs = visible_configs(user)
    return configs.filter(organization__name=query["organization"]) if query["organization"] else configs


def _found(user: AnyUser, name: str, query: dict[str, Any]) -> Sequence[TrainingConfig]:
    """Return the configs of that name; that of the oldest organization comes first. Raises Http404."""
    found = [] if "\x00" in name else list(_among(user, query).filter(name=name).order_by("organization_id"))
    if not found:
        raise Http404
    return found


def _check_name(name: str) -> None:
    if len(name) > NAME_LIMIT:
        raise exceptions.ValidationError({"name": f"A name may have at most {NAME_LIMIT} characters."})
    try:
        plain_name(name)
    except ValidationError as error:
        raise exceptions.ValidationError({"name": error.messages}) from error


class ProviderViewSet(StrictViewSet):
    """The providers, and what they charge."""

    lookup_url_kwarg = "name"

    @extend_schema(responses=ProviderListSerializer)
    def list(self, request: Request) -> Response:
        """List the providers."""
        return rendered(ProviderListSerializer, {"providers": list(ProviderConfig.of_all(names()).values())})

    @extend_schema(request=ProviderSettingsBody, responses=ProviderSettingsSerializer)
    @needs(Scope.ADMINISTER)
    def update(self, request: Request, name: str) -> Response:
        """Change a provider's settings."""
        # They apply to all organizations.
        if not is_superuser(request.user):
            raise exceptions.PermissionDenied("Only superusers can change providers: all organizations share them.")
        if name not in names():
            raise Http404
        options = checked(ProviderSettingsBody, request.data)
        config = change_settings(name, options, by=current_user(request))
        return rendered(ProviderSettingsSerializer, config)

    @extend_schema(responses=ValidationSerializer)
    @action(detail=True)
    def validate(self, request: Request, name: str) -> Response:
        """Check whether a provider can take a job now."""
        if name not in names():
            raise Http404
        try:
            message = clusters.validate(name)
        except ProviderError as error:
            return rendered(ValidationSerializer, {"valid": False, "message": str(error), "error": str(error)})
        return rendered(ValidationSerializer, {"valid": True, "message": message, "error": None})


def _check(errors: Sequence[str], warnings: Sequence[str] = (), findings: Sequence[Finding] = ()) -> dict[str, Any]:
    return {"valid": not errors, "errors": errors, "warnings": warnings, "config_warnings": findings}
