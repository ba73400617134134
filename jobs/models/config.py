"""Training configs that organizations store."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from jobs.models.organization import Organization
from jobs.validators import NAME_LIMIT, plain_name


class TrainingConfig(models.Model):
    """A config that an organization stores under a name, for `config_name_to_load`."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="training_configs")
    name = models.CharField(max_length=NAME_LIMIT, validators=[plain_name])
    config = models.JSONField(default=dict)
    dataloader_config = models.JSONField(default=list, blank=True)
    #: The secrets that were in both, encrypted, with their places.
    sealed = models.TextField(blank=True, editable=False)
    updated_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="one_config_a_name")]

    def __str__(self) -> str:
        return self.name
