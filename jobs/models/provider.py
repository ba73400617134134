"""An operator's settings of a provider."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, URLValidator
from django.db import models

from cloudtrain_site.database.prepared import Prepared, padded
from jobs.models.organization import Organization
from jobs.validators import holds_no_secret

#: The provider's name follows.
WEBHOOK_PATH = "/api/webhooks/"
#: In US dollars.
HIGHEST_PRICE_PER_SECOND = 1_000_000


def _are_prices(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_price(price) for price in value.values())


def _is_price(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= HIGHEST_PRICE_PER_SECOND


class ProviderConfig(models.Model):
    """An operator's settings of one provider. A change is in force at the next read, without a restart."""

    name = models.CharField(max_length=40, primary_key=True)
    enabled = models.BooleanField(default=True)
    webhook_url = models.CharField(
        blank=True, max_length=500, validators=[URLValidator(["http", "https"]), holds_no_secret]
    )
    webhook_networks = models.TextField(blank=True, help_text="Networks that can deliver webhooks, one per line.")
    signature_required = models.BooleanField(default=True)
    model_version = models.CharField(
        max_length=200, blank=True, help_text="The model to run, with or without a version."
    )
    default_hardware = models.CharField(max_length=40, blank=True)
    cost_per_second = models.JSONField(
        default=dict, blank=True, help_text="US dollars per second, by hardware profile."
    )
    prices_as_of = models.DateField(null=True, blank=True, help_text="When the prices were last looked up.")
    seconds_per_step = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.0)],
        help_text=(
            "The shortest time of a step at batch size 1, in seconds. Estimates multiply it by batch size and "
            "accumulation, until five similar runs have been measured. 0: not known."
        ),
    )
    discovery_organization = models.ForeignKey(
        Organization,
        models.SET_NULL,
        null=True,
        blank=True,
        help_text="Owns the jobs that are discovered at the provider.",
    )
    #: Shared by all processes: the failed requests in a row, and the end of the pause after them.
    outage_failures = models.PositiveIntegerField(default=0, editable=False)
    outage_until = models.DateTimeField(null=True, editable=False)
    #: A process is refreshing all of its active jobs, until this time at most.
    refresh_until = models.DateTimeField(null=True, editable=False)
    silence_minutes = models.PositiveIntegerField(
        default=15,
        help_text="With a webhook address: after so many minutes without a webhook, a job is refreshed. 0: never.",
    )
    #: When a job was first found changed without a webhook; None once a webhook arrived again.
    webhooks_missed_at = models.DateTimeField(null=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse prices and networks that the admin's form takes and nobody can use, and another provider's address."""
        self.cost_per_second = {} if self.cost_per_second is None else self.cost_per_second
        if not _are_prices(self.cost_per_second):
            sentence = 'It must be an object with US dollars per second by hardware profile, like {"h100": 0.001}.'
            raise ValidationError({"cost_per_second": sentence})
        for network in self.webhook_networks.split():
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ValidationError(
                    {"webhook_networks": f"“{network}” is not a network such as 10.0.0.0/8."}
                ) from None
        self._check_webhook_url()

    def _check_webhook_url(self) -> None:
        """Refuse an address of ours that is another provider's: what comes there has another secret."""
        own = f"{WEBHOOK_PATH}{self.name}"
        try:
            path = urlsplit(self.webhook_url).path
        except ValueError:
            return  # the field's own validator says so
        if path.startswith(WEBHOOK_PATH) and path != own:
            raise ValidationError(
                {"webhook_url": f"Its deliveries arrive at {own}. Enter that address, or only the host."}
            )

    @classmethod
    def of(cls, name: str) -> ProviderConfig:
        """Return the settings of a provider; while nobody has stored any, the defaults."""
        return _BY_NAME.first(name) or cls(name=name)

    @classmethod
    def of_all(cls, names: Collection[str]) -> dict[str, ProviderConfig]:
        """Return the same for each of `names`, by name. One query."""
        stored = {config.pk: config for config in _BY_NAMES(*padded(names))} if names else {}
        return {name: stored.get(name) or cls(name=name) for name in names}


_BY_NAMES = Prepared(lambda *names: ProviderConfig.objects.filter(pk__in=names))
_BY_NAME = Prepared(lambda name: ProviderConfig.objects.filter(pk=name).select_related("discovery_organization"))
