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


class PositionShape(serializers.Serializer[Any]):
    """Where a job stands, and why it waits."""

    job_id = serializers.CharField()
    status = serializers.CharField()
    position = serializers.IntegerField(allow_null=True)
    waiting_reason = serializers.CharField(allow_null=True)
    estimated_wait_seconds = serializers.FloatField(allow_null=True)


class LimitsShape(serializers.Serializer[Any]):
    """The limits in force."""

    max_running = serializers.IntegerField()
    max_running_per_user = serializers.IntegerField()
    max_running_per_organization = serializers.IntegerField()
    paused = serializers.BooleanField()
