"""Service accounts: for programs of an organization, such as its CI. They belong to nobody."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from jobs.models.organization import Organization

LABEL = RegexValidator(
    r"^[a-z0-9][a-z0-9._-]{0,39}\Z",
    "A service account's name has 1 to 40 small letters, digits and any of . _ - and begins with a letter or digit.",
)


class ServiceAccount(models.Model):
    """Marks a user as a service account: nobody signs in as it, it gets no mail, and it acts by API keys alone."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="service_account"
    )
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="service_accounts")
    #: Its name in the organization. Its user's name is `ORGANIZATION:NAME`, which no person's can be.
    name = models.CharField(max_length=40, validators=[LABEL])
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    #: A removed one stays for the sake of its jobs' history, without rights and keys.
    removed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="service_account_once")]

    def __str__(self) -> str:
        return self.name
