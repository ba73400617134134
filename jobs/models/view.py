"""The saved views of the list of jobs."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from jobs.models.organization import Organization
from jobs.validators import plain_name

MAX_NAME = 40
MAX_QUERY = 1000


class SavedView(models.Model):
    """A name for an address of the list: its owner's own, or, with an organization, its members' too."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, related_name="saved_views")
    name = models.CharField(max_length=MAX_NAME, validators=[plain_name])
    #: What follows the question mark.
    query = models.CharField(max_length=MAX_QUERY, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [
            # The same form sent twice at once.
            models.UniqueConstraint(
                fields=["owner", "name"], condition=Q(organization=None), name="one_own_view_a_name"
            ),
            models.UniqueConstraint(
                fields=["organization", "name"], condition=Q(organization__isnull=False), name="one_shared_view_a_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name
