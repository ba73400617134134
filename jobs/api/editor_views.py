"""What an editor of configs asks for: the options that a trainer knows, and other notations as JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.utils.cache import get_conditional_response, patch_cache_control
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, checked, rendered, takes
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.models import Scope
from cloudtrain_site.redaction import mask_secrets
from cloudtrain_site.strict_views import StrictView
from jobs.api.serializers import ProviderField
from jobs.configs.conversion import ConversionError, Notation, notation_of, read_as
from jobs.configs.exact import written
from jobs.configs.known_keys import BACKEND_TYPES, DATASET_KEYS, DATASET_TYPES
from jobs.configs.option_lists import OptionListError, list_for, simpletuners
from jobs.configs.submission import CONFIG_LIMIT_BYTES

#: For so many seconds a browser doesn't ask again.
KEPT_SECONDS = 600


class OptionsQuery(StrictSerializer):
    """The provider whose trainer is meant."""

    provider = ProviderField(default="local")


class OptionsSerializer(serializers.Serializer[Any]):
    """The options of a config and of a dataset by name: `type`, and where they are known `choices`, `default`,
    `minimum` and `soft_maximum`."""

    trainer = serializers.CharField()
    options = serializers.DictField(child=serializers.DictField())
    dataset_options = serializers.DictField(child=serializers.DictField())


class ConfigOptions(StrictView):
    """The options that a trainer knows."""

    @extend_schema(operation_id="config_options", responses=OptionsSerializer)
    @takes(OptionsQuery)
    def get(self, request: Request) -> Response:
        """List the options of a config."""
        provider = self.query["provider"]
        answer = rendered(OptionsSerializer, _options_for(provider))
        digest = hashlib.sha256(json.dumps(answer.data, sort_keys=True).encode()).hexdigest()
        etag = f'"{digest[:32]}"'
        unchanged = get_conditional_response(request, etag=etag)
        if unchanged is not None:
            answer = Response(status=304)
        answer["ETag"] = etag
        patch_cache_control(answer, private=True, max_age=KEPT_SECONDS)
        return answer


def _options_for(provider: str) -> dict[str, Any]:
    try:
        listed = list_for(provider, {}, config_in_force().option_lists) or simpletuners()
    except OptionListError:  # the log of each check names it
        listed = simpletuners()
    datasets: dict[str, dict[str, Any]] = {name: {} for name in DATASET_KEYS}
    datasets["type"] = {"type": "choice", "choices": list(BACKEND_TYPES)}
    datasets["dataset_type"] = {"type": "choice", "choices": list(DATASET_TYPES)}
    return {"trainer": listed.trainer, "options": listed.options, "dataset_options": datasets}


class ConversionBody(StrictSerializer):
    """A config as text."""

    text = serializers.CharField(max_length=CONFIG_LIMIT_BYTES, trim_whitespace=False)
    notation = serializers.ChoiceField(
        [notation.value for notation in Notation],
        default=None,
        allow_null=True,
        help_text="Null: detected from the text.",
    )
    masked = serializers.BooleanField(default=False, help_text="Whether secrets are shown as ***.")


class ConversionSerializer(serializers.Serializer[Any]):
    """The config as JSON, its numbers as they were written."""

    notation = serializers.CharField()
    text = serializers.CharField()


class ConfigConversion(StrictView):
    """A config in TOML or YAML as JSON. Nothing is stored."""

    @extend_schema(operation_id="config_conversion", request=ConversionBody, responses=ConversionSerializer)
    @needs(Scope.READ)
    def post(self, request: Request) -> Response:
        """Convert a config to JSON."""
        body = checked(ConversionBody, request.data)
        notation = Notation(body["notation"]) if body["notation"] else notation_of(body["text"])
        try:
            value = read_as(notation, body["text"])
        except ConversionError as error:
            raise exceptions.ValidationError({"text": str(error)}) from None
        value = mask_secrets(value) if body["masked"] else value
        return rendered(ConversionSerializer, {"notation": notation, "text": written(value)})
