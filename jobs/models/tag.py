"""The tags of an organization, and the jobs that carry them."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models

from jobs.models.job import Job
from jobs.models.organization import Organization
from jobs.validators import holds_no_secret, plain_name

MAX_TAG_CHARACTERS = 40
#: Folding makes several characters of some.
MAX_KEY_CHARACTERS = 120


def validate_tag(name: str) -> None:
    """Raises ValidationError for a name that can't be a tag's."""
    plain_name(name)
    holds_no_secret(name)
    if name != name.strip() or "," in name:
        raise ValidationError("A tag can't contain commas, or begin or end with a space.", code="invalid_name")


class Tag(models.Model):
    """A name that members put on their organization's jobs."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="tags")
    name = models.CharField(max_length=MAX_TAG_CHARACTERS, validators=[validate_tag])
    #: The name folded: two tags that differ in capitals alone would be taken for each other.
    name_key = models.CharField(max_length=MAX_KEY_CHARACTERS, editable=False)

    class Meta:
        ordering = ["name_key"]
        constraints = [
            # Two admins who make the same one at once; and a tag by its name.
            models.UniqueConstraint(fields=["organization", "name_key"], name="one_tag_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class JobTag(models.Model):
    """A job that carries a tag."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="job_tags", db_index=False)
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="job_tags", db_index=False)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["job", "tag"], name="one_tag_each")]
        indexes = [
            # The list of jobs by tag, newest first.
            models.Index(fields=["tag", "-job"], name="job_by_tag"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}: {self.tag_id}"
