"""The verbs of stored training configs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from jobs.access import AnyUser, organizations_of
from jobs.models import Organization, TrainingConfig


def visible_configs(user: AnyUser) -> QuerySet[TrainingConfig]:
    """The configs of the user's organizations."""
    return TrainingConfig.objects.filter(organization__in=organizations_of(user)).select_related("organization")


def find_config(user: AnyUser, name: str, organization: Organization | None = None) -> TrainingConfig | None:
    """The config called `name`, of `organization` or of the first of the user's that has one."""
    found = visible_configs(user).filter(name=name)
    if organization is not None:
        found = found.filter(organization=organization)
    return found.order_by("organization_id").first()


def store_config(
    user: User, organization: Organization, name: str, config: dict[str, Any], dataloader: list[Any]
) -> tuple[TrainingConfig, bool]:
    """Keep `config` under `name`, over what was there before. The second value: it is new."""
    return TrainingConfig.objects.update_or_create(
        organization=organization,
        name=name,
        defaults={
            "config": config,
            "dataloader_config": dataloader,
            "updated_by": user,
            "updated_at": timezone.now(),
        },
    )


def remove_config(config: TrainingConfig) -> bool:
    """Forget a config. Jobs made from it keep theirs. False: it was already gone."""
    return TrainingConfig.objects.filter(pk=config.pk).delete()[0] > 0
