"""The serializers of the queue: queries, bodies and responses."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from cloudtrain_site.api import BeginningField, StrictSerializer, SuccessField, UtcField
from jobs.api.serializers import RangeSerializer
from jobs.models import Organization
from jobs.permissions import AnyUser
from jobs.sync.waiting import reasons_at_providers
from queueing.limits import limits_of_file
from queueing.models import LARGEST_BUDGET, MAX_PRIORITY, ProviderLimit, QueueEntry, QueueState
from queueing.statuses import WAITING, EntryStatus
from queueing.waiting.explain import Explained, Holder
from queueing.waiting.positions import NOT_WAITING, waiting_facts


class AmountField(serializers.DecimalField):
    """US dollars, with cents; NaN and infinities are none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=11, decimal_places=2, min_value=Decimal(0), max_value=LARGEST_BUDGET, **options)


class QueueQuery(StrictSerializer):
    """The statuses to filter by, and the largest number of entries."""

    status = serializers.MultipleChoiceField(choices=EntryStatus.choices, default=set)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)


class PriorityBody(StrictSerializer):
    """A new priority, and its reason."""

    priority = serializers.IntegerField(min_value=0, max_value=MAX_PRIORITY)
    reason = serializers.CharField(max_length=2000)


class EntrySerializer(serializers.Serializer[Any]):
    """A queue entry, its position, why it waits, and for how long it probably will."""

    # `with_facts` adds what is no column.
    job_id = serializers.CharField()
    config_name = serializers.CharField(source="job.config_name")
    status = serializers.ChoiceField(choices=EntryStatus.choices)
    priority = serializers.IntegerField(source="effective_priority")
    position = serializers.IntegerField(source="queue_position", allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    estimated_wait_seconds = serializers.FloatField(allow_null=True)
    unconfirmed = serializers.SerializerMethodField()
    submitted_by = serializers.CharField(source="user.username", allow_null=True)
    organization = serializers.CharField(source="organization.name", allow_null=True)
    provider = serializers.CharField()
    attempts = serializers.IntegerField()
    last_error = BeginningField()
    enqueued_at = UtcField()
    dispatched_at = UtcField(allow_null=True)

    def get_unconfirmed(self, entry: QueueEntry) -> bool:
        return entry.unconfirmed_at is not None


def with_facts(entries: Sequence[QueueEntry], viewer: AnyUser) -> Sequence[QueueEntry]:
    """Return the entries with position, reason and wait for `viewer`, set as attributes like a query's annotations."""
    facts = waiting_facts([entry for entry in entries if entry.status in WAITING], viewer)
    reasons = reasons_at_providers([entry.job for entry in entries])
    for entry in entries:
        vars(entry).update(facts.get(entry.pk) or {**NOT_WAITING, "waiting_reason": reasons.get(entry.job_id)})
    return entries


class QueueSerializer(serializers.Serializer[Any]):
    """The waiting and running entries that you may see, and how many there are."""

    entries = EntrySerializer(many=True)
    depth = serializers.IntegerField()
    running = serializers.IntegerField()


class OwnQueueSerializer(serializers.Serializer[Any]):
    """Your waiting and running entries."""

    entries = EntrySerializer(many=True)


class HolderSerializer(serializers.Serializer[Holder]):
    """A job that takes a slot."""

    job_id = serializers.CharField()
    config_name = serializers.CharField()
    status = serializers.ChoiceField(choices=EntryStatus.choices)


class BlockerSerializer(serializers.Serializer[Explained]):
    """A reason that keeps a job waiting, and what would lift it."""

    kind = serializers.CharField()
    sentence = serializers.CharField()
    holders = HolderSerializer(many=True)
    lifted_by = serializers.CharField()


class PositionSerializer(serializers.Serializer[Any]):
    """A job's place in the queue, why it waits, and for how long it probably will."""

    job_id = serializers.CharField(source="entry.job_id")
    status = serializers.CharField(source="entry.status")
    position = serializers.IntegerField(allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    blockers = BlockerSerializer(many=True)
    estimated_wait_seconds = serializers.FloatField(source="wait.likely", allow_null=True)
    estimated_wait_range = RangeSerializer(source="wait", allow_null=True)


class UserLoadSerializer(serializers.Serializer[Any]):
    """The numbers of a user's waiting and running jobs."""

    user = serializers.CharField(allow_null=True)
    waiting = serializers.IntegerField()
    running = serializers.IntegerField()


class OrganizationLoadSerializer(serializers.Serializer[Any]):
    """The numbers of an organization's waiting and running jobs."""

    organization = serializers.CharField(allow_null=True)
    waiting = serializers.IntegerField()
    running = serializers.IntegerField()


class StatisticsSerializer(serializers.Serializer[Any]):
    """The queue in numbers, by cloudtrain's and SimpleTuner's names."""

    depth = serializers.IntegerField()
    queue_depth = serializers.IntegerField(source="depth")
    running = serializers.IntegerField()
    average_wait_seconds = serializers.FloatField(allow_null=True)
    avg_wait_seconds = serializers.FloatField(source="average_wait_seconds", allow_null=True)
    by_status = serializers.DictField(child=serializers.IntegerField())
    max_concurrent = serializers.IntegerField(source="limits.max_running")
    user_max_concurrent = serializers.IntegerField(source="limits.max_running_per_user")
    team_max_concurrent = serializers.IntegerField(source="limits.max_running_per_organization")
    enable_fair_share = serializers.BooleanField(source="limits.fair_share")
    by_user = UserLoadSerializer(many=True)
    by_organization = OrganizationLoadSerializer(many=True)


class ProviderLimitBody(StrictSerializer):
    """A provider's limit; null: none. While it is drained, no new job starts there."""

    max_running = serializers.IntegerField(min_value=0, max_value=1_000_000, allow_null=True, required=False)
    drained = serializers.BooleanField(required=False)


#: SimpleTuner's names of limits, and ours.
LIMIT_ALIASES = {
    "max_concurrent": "max_running",
    "user_max_concurrent": "max_running_per_user",
    "team_max_concurrent": "max_running_per_organization",
    "enable_fair_share": "fair_share",
}


class LimitsBody(StrictSerializer):
    """The limits to change, by cloudtrain's or SimpleTuner's names. Limits that are left out stay unchanged."""

    max_concurrent = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    user_max_concurrent = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    team_max_concurrent = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    enable_fair_share = serializers.BooleanField(required=False)
    max_running = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    max_running_per_user = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    max_running_per_organization = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    fair_share = serializers.BooleanField(required=False)
    paused = serializers.BooleanField(required=False)
    providers = serializers.DictField(child=ProviderLimitBody(), required=False)
    organizations = serializers.DictField(
        child=serializers.IntegerField(min_value=0, max_value=1_000_000, allow_null=True), required=False
    )
    reason = serializers.CharField(max_length=2000, default="", allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the limits by our names. Raises ValidationError for two names with different values."""
        for alias, name in LIMIT_ALIASES.items():
            if alias in attrs and attrs.setdefault(name, attrs[alias]) != attrs.pop(alias):
                raise serializers.ValidationError(
                    f"{alias} and {name} are the same limit and differ. Send one of them."
                )
        return attrs


class LimitsSerializer(serializers.Serializer[QueueState]):
    """The limits in force, by cloudtrain's and SimpleTuner's names."""

    max_concurrent = serializers.IntegerField(source="max_running")
    user_max_concurrent = serializers.IntegerField(source="max_running_per_user")
    team_max_concurrent = serializers.IntegerField(source="max_running_per_organization")
    enable_fair_share = serializers.BooleanField(source="fair_share")
    max_running = serializers.IntegerField()
    max_running_per_user = serializers.IntegerField()
    max_running_per_organization = serializers.IntegerField()
    fair_share = serializers.BooleanField()
    paused = serializers.BooleanField()
    providers = serializers.SerializerMethodField()
    organizations = serializers.SerializerMethodField()

    def get_providers(self, state: QueueState) -> dict[str, Any]:
        """By provider name. A limit in the configuration file overrides one set here."""
        of_file = limits_of_file()
        declared = {name: ProviderLimit(provider=name) for name in of_file if name != "local"}
        rows = declared | {row.provider: row for row in ProviderLimit.objects.all()}
        return {
            name: {"max_running": of_file.get(name, row.max_running), "drained": row.drained}
            for name, row in rows.items()
        }

    def get_organizations(self, state: QueueState) -> dict[str, Any]:
        return dict(Organization.objects.exclude(max_running=None).values_list("name", "max_running"))


class ReasonBody(StrictSerializer):
    """The reason of an action."""

    reason = serializers.CharField(max_length=2000)


class CleanupQuery(StrictSerializer):
    """The age in days from which finished entries are removed."""

    days = serializers.IntegerField(min_value=0, max_value=36_500, default=30)


class CleanedSerializer(serializers.Serializer[Any]):
    """The number of removed entries."""

    success = SuccessField()
    deleted = serializers.IntegerField()


class RequestedPassSerializer(serializers.Serializer[Any]):
    """The confirmation that a pass will run."""

    success = SuccessField()
    message = serializers.CharField()
