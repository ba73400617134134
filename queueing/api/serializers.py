"""The shapes of requests, checked; and those of answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cloudtrain_site.api import StrictSerializer
from queueing.models import MAX_PRIORITY
from queueing.statuses import EntryStatus


class QueueQuery(serializers.Serializer[Any]):
    """Which entries, and how many."""

    status = serializers.MultipleChoiceField(choices=EntryStatus.choices, default=set)
    limit = serializers.IntegerField(min_value=1, max_value=500, default=100)


class PriorityBody(StrictSerializer):
    """A new priority, and why."""

    priority = serializers.IntegerField(min_value=0, max_value=MAX_PRIORITY)
    reason = serializers.CharField(max_length=2000)


class EntryShape(serializers.Serializer[Any]):
    """A queue entry."""

    job_id = serializers.CharField()
    config_name = serializers.CharField()
    status = serializers.ChoiceField(choices=EntryStatus.choices)
    priority = serializers.IntegerField()
    position = serializers.IntegerField(allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    estimated_wait_seconds = serializers.FloatField(allow_null=True)
    unconfirmed = serializers.BooleanField()
    submitted_by = serializers.CharField(allow_null=True)
    organization = serializers.CharField(allow_null=True)
    provider = serializers.CharField()
    attempts = serializers.IntegerField()
    last_error = serializers.CharField(allow_null=True)
    enqueued_at = serializers.DateTimeField()
    dispatched_at = serializers.DateTimeField(allow_null=True)


class QueueShape(serializers.Serializer[Any]):
    """The live entries that the asker may see, and how full the queue is."""

    entries = EntryShape(many=True)
    depth = serializers.IntegerField()
    running = serializers.IntegerField()


class MyQueueShape(serializers.Serializer[Any]):
    """The asker's live entries."""

    entries = EntryShape(many=True)


class HolderShape(serializers.Serializer[Any]):
    """A job that takes a slot."""

    job_id = serializers.CharField()
    config_name = serializers.CharField()
    status = serializers.ChoiceField(choices=EntryStatus.choices)


class BlockerShape(serializers.Serializer[Any]):
    """One thing that keeps a job waiting, and what would lift it."""

    kind = serializers.CharField()
    sentence = serializers.CharField()
    holders = HolderShape(many=True)
    lifted_by = serializers.CharField()


class RangeShape(serializers.Serializer[Any]):
    """From a quarter of the past jobs' lengths to three quarters."""

    low = serializers.FloatField()
    high = serializers.FloatField()


class PositionShape(serializers.Serializer[Any]):
    """Where a job stands, why it waits, and about how long."""

    job_id = serializers.CharField()
    status = serializers.CharField()
    position = serializers.IntegerField(allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    blockers = BlockerShape(many=True)
    estimated_wait_seconds = serializers.FloatField(allow_null=True)
    estimated_wait_range = RangeShape(allow_null=True)


class UserLoadShape(serializers.Serializer[Any]):
    """What a user has in the queue."""

    user = serializers.CharField(allow_null=True)
    waiting = serializers.IntegerField()
    running = serializers.IntegerField()


class OrganizationLoadShape(serializers.Serializer[Any]):
    """What an organization has in the queue."""

    organization = serializers.CharField(allow_null=True)
    waiting = serializers.IntegerField()
    running = serializers.IntegerField()


class StatisticsShape(serializers.Serializer[Any]):
    """The queue in numbers."""

    depth = serializers.IntegerField()
    running = serializers.IntegerField()
    average_wait_seconds = serializers.FloatField(allow_null=True)
    by_user = UserLoadShape(many=True)
    by_organization = OrganizationLoadShape(many=True)


class ProviderLimitBody(StrictSerializer):
    """A provider's own limit; null: none. Drained: nothing new starts there."""

    max_running = serializers.IntegerField(min_value=0, max_value=1_000_000, allow_null=True, required=False)
    drained = serializers.BooleanField(required=False)


class LimitsBody(StrictSerializer):
    """The limits to change; what is left out stays."""

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


class LimitsShape(serializers.Serializer[Any]):
    """The limits in force."""

    max_running = serializers.IntegerField()
    max_running_per_user = serializers.IntegerField()
    max_running_per_organization = serializers.IntegerField()
    fair_share = serializers.BooleanField()
    paused = serializers.BooleanField()
    providers = serializers.DictField()
    organizations = serializers.DictField()


class ReasonBody(StrictSerializer):
    """Why somebody does it."""

    reason = serializers.CharField(max_length=2000)


class CleanupQuery(serializers.Serializer[Any]):
    """How old the finished entries are that go."""

    days = serializers.IntegerField(min_value=0, max_value=36_500, default=30)


class CleanedShape(serializers.Serializer[Any]):
    """How many finished entries went."""

    success = serializers.BooleanField()
    deleted = serializers.IntegerField()


class AskedShape(serializers.Serializer[Any]):
    """That a pass comes."""

    success = serializers.BooleanField()
    message = serializers.CharField()
