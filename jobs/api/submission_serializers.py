"""The bodies of a submission and of a job's cost limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from rest_framework import serializers

from cloudtrain_site.api import StrictSerializer, SuccessField
from cloudtrain_site.names import readable_name
from jobs.api.serializers import ProviderField
from jobs.configs.submission import TOO_LARGE_A_NUMBER, problem_with
from jobs.fuses.actions import HIGHEST
from jobs.models.lineage import PATH_LIMIT
from jobs.statuses import FuseAction
from jobs.tags.serializers import TagsField
from jobs.validators import NAME_LIMIT, holds_no_secret, plain_name


def keepable(value: Any) -> None:
    """Raise ValidationError for JSON that can't be stored."""
    problem = problem_with(value)
    if problem is not None:
        raise serializers.ValidationError(problem)


def json_object(value: Any) -> None:
    """Raise ValidationError for JSON that is not an object."""
    if not isinstance(value, dict):
        raise serializers.ValidationError("A config is a JSON object.")


class ConfigField(serializers.JSONField):
    """A config as JSON."""

    # Nothing else that was read from JSON can't be written as such.
    default_error_messages: ClassVar[dict[str, Any]] = {"invalid": TOO_LARGE_A_NUMBER}
    default_validators = (json_object, keepable)


class DollarsField(serializers.DecimalField):
    """A positive amount of US dollars; NaN and infinities are none."""

    def __init__(self, **options: Any) -> None:
        cent = Decimal("0.01")
        super().__init__(max_digits=12, decimal_places=4, min_value=cent, max_value=HIGHEST, **options)


class FuseBody(StrictSerializer):
    """The job's cost limit."""

    max_cost_usd = DollarsField()
    ask = serializers.BooleanField(default=False, help_text="Ask the reviewers if this is more than was approved.")
    reason = serializers.CharField(max_length=2000, default="", allow_blank=True, help_text="Shown to the reviewers.")


class FuseSetSerializer(serializers.Serializer[Any]):
    """The job's cost limit."""

    success = SuccessField()
    job_id = serializers.CharField(source="pk")
    max_cost_usd = serializers.FloatField(allow_null=True)
    asked = serializers.BooleanField(source="is_asked", help_text="Whether the reviewers were asked.")


class SubmitBody(StrictSerializer):
    """A submission."""

    config = ConfigField(required=False)
    config_name_to_load = serializers.CharField(max_length=NAME_LIMIT, required=False)
    dataloader_config = serializers.ListField(required=False, validators=[keepable])
    config_name = serializers.CharField(max_length=NAME_LIMIT, required=False, validators=[plain_name, holds_no_secret])
    hardware_profile = serializers.CharField(max_length=40, default="", allow_blank=True)
    organization = serializers.CharField(max_length=100, default="", allow_blank=True)
    tracker_run_name = serializers.CharField(
        max_length=NAME_LIMIT, default="", allow_blank=True, validators=[readable_name, holds_no_secret]
    )
    webhook_url = serializers.URLField(
        max_length=500,
        default="",
        allow_blank=True,
        help_text="Called when the job ends. Stored encrypted.",
    )
    dataset = serializers.CharField(max_length=26, default="", allow_blank=True)
    parent = serializers.CharField(  # type: ignore[assignment]
        max_length=128, default="", allow_blank=True, help_text="The id of the job that this run is made from."
    )
    checkpoint = serializers.CharField(
        max_length=PATH_LIMIT, default="", allow_blank=True, help_text="A checkpoint of the parent to continue from."
    )
    idempotency_key = serializers.CharField(max_length=200, default="", allow_blank=True)
    dry_run = serializers.BooleanField(default=False)
    max_cost_usd = DollarsField(
        default=None, allow_null=True, help_text="The job's cost limit: it is cancelled before it costs more."
    )
    tags = TagsField(default=list, help_text="Out of the organization's tags.")
    fuse_action = serializers.ChoiceField(
        FuseAction.choices,
        default=None,
        allow_null=True,
        help_text="What happens at the cost limit. Null: as the rules say, or else the site's default.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("config" in attrs) == ("config_name_to_load" in attrs):
            raise serializers.ValidationError("Send either config or config_name_to_load, not both.")
        return attrs


class SubmitQuery(StrictSerializer):
    """Where a submission goes; left out: to its organization's default provider, or else to `local`."""

    provider = ProviderField(required=False)
