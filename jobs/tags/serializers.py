"""Shapes of tags over HTTP."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cloudtrain_site.api import StrictSerializer, SuccessField
from jobs.models import Tag
from jobs.models.job import MAX_NOTE_CHARACTERS
from jobs.models.tag import MAX_TAG_CHARACTERS
from jobs.tags.tagging import MAX_TAGS_OF_JOB


class TagsField(serializers.ListField):
    """Names of tags of the job's organization."""

    def __init__(self, **options: Any) -> None:
        name = serializers.CharField(max_length=MAX_TAG_CHARACTERS)
        super().__init__(child=name, max_length=MAX_TAGS_OF_JOB, **options)


class TagsBody(StrictSerializer):
    """All tags of the job; they replace its earlier tags."""

    tags = TagsField()


class NoteBody(StrictSerializer):
    """The new note. An empty one removes it."""

    note = serializers.CharField(max_length=MAX_NOTE_CHARACTERS, allow_blank=True)


class NoteSetSerializer(serializers.Serializer[Any]):
    """The job's note."""

    success = SuccessField()
    job_id = serializers.CharField()
    note = serializers.CharField(allow_blank=True)


class TagsSetSerializer(serializers.Serializer[Any]):
    """The job's tags."""

    success = SuccessField()
    job_id = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())


class TagSerializer(serializers.Serializer[Tag]):
    """A tag, and how many jobs have it."""

    name = serializers.CharField()
    jobs = serializers.IntegerField()


class TagListSerializer(serializers.Serializer[Any]):
    """The organization's tags by name."""

    tags = TagSerializer(many=True)


class TagDetailSerializer(serializers.Serializer[Any]):
    tag = TagSerializer()


class TagBody(StrictSerializer):
    """The name of a tag, without commas."""

    name = serializers.CharField(max_length=MAX_TAG_CHARACTERS)


class RemovedTagSerializer(serializers.Serializer[Any]):
    success = SuccessField()
    name = serializers.CharField()
    jobs = serializers.IntegerField(help_text="How many jobs had it.")
