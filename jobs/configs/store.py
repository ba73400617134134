"""The verbs of stored training configs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.encryption import SecretsLostError
from jobs.configs.secrets import objection_to_masks, sealed_columns, with_kept_secrets
from jobs.models import Organization, TrainingConfig
from jobs.permissions import AnyUser, organizations_of


class MaskedError(ValueError):
    """A mask stands where a secret should, and its secret is not known."""


def visible_configs(user: AnyUser) -> QuerySet[TrainingConfig]:
    return TrainingConfig.objects.filter(organization__in=organizations_of(user)).select_related("organization")


def find_config(user: AnyUser, name: str, organization: Organization | None = None) -> TrainingConfig | None:
    """Return the config called `name`, of `organization` or of the first of the user's that has one."""
    configs = visible_configs(user).filter(name=name)
    if organization is not None:
        configs = configs.filter(organization=organization)
    return configs.order_by("organization_id").first()


def store_config(
    user: User, organization: Organization, name: str, config: dict[str, Any], dataloader: list[Any]
) -> tuple[TrainingConfig, bool]:
    """Store `config` under `name`, over an earlier one. The second value: it is new.

    A mask that it repeats keeps its secret. Raises MaskedError for one without a secret.
    """
    with unit_of_work():
        own = TrainingConfig.objects.filter(organization=organization, name=name)
        columns = columns_for(config, dataloader, own.select_for_update().first())
        stored, is_new = TrainingConfig.objects.update_or_create(
            organization=organization,
            name=name,
            defaults={**columns, "updated_by": user, "updated_at": timezone.now()},
        )
        # What it says stays in the config: a record of each version would be a second store of them.
        record("config_made" if is_new else "config_changed", stored, by=user, organization=organization)
    return stored, is_new


def columns_for(config: Any, dataloader: Any, kept: TrainingConfig | None) -> dict[str, Any]:
    """Return the columns of a config that replaces `kept`: masked, and its secrets sealed. Raises MaskedError."""
    try:
        filled = with_kept_secrets({"config": config, "dataloader_config": dataloader}, kept)
    except SecretsLostError as error:
        raise MaskedError(str(error)) from None
    if objection := objection_to_masks(**filled):
        raise MaskedError(objection)
    return sealed_columns(**filled)


def remove_config(config: TrainingConfig, *, by: User) -> bool:
    """Delete a config. Jobs made from it keep theirs. False: it was already gone."""
    with unit_of_work():
        if not TrainingConfig.objects.filter(pk=config.pk).delete()[0]:
            return False
        record("config_removed", config, by=by, organization=config.organization)
    return True
