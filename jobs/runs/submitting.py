"""The submission of a run that was made from another: its organization, the secrets it takes over, its checkpoint."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from rest_framework.exceptions import ValidationError

from cloudtrain_site.encryption import SecretsLostError
from jobs.configs.secrets import with_kept_secrets
from jobs.models import Job
from jobs.permissions import can_change
from jobs.queries import find_job
from jobs.runs.origin import NEW, Origin
from jobs.runs.resuming import checkpoints_of, with_checkpoint


def origin_in(user: User, body: dict[str, Any]) -> Origin:
    """Return what a checked SubmitBody names as its origin. Raises Http404 for a parent that `user` may not see.

    Raises ValidationError for a parent of no organization, or of another one than the body names: a run stays where its
    tree is, so that whoever sees it sees what it was made from.
    """
    if not body["parent"]:
        if body["checkpoint"]:
            raise ValidationError({"checkpoint": "Give the run that wrote it as parent."})
        return NEW
    parent = find_job(user, body["parent"])
    if parent.organization is None:
        raise ValidationError({"parent": "This job was created at its provider and belongs to no organization."})
    if body["organization"] not in ("", parent.organization.name):
        message = f"A run with changes stays in the organization of its parent, {parent.organization.name}."
        raise ValidationError({"organization": message})
    return Origin(parent=parent, checkpoint=body["checkpoint"].strip("/"))


def with_parents_secrets(user: User, origin: Origin, parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts with the parent's secrets where they repeat its masks, if `user` may change the parent.

    Whoever may not is asked for the secrets, as for any mask. Raises ValidationError when they are lost.
    """
    if origin.parent is None or not can_change(user, origin.parent):
        return parts
    try:
        return with_kept_secrets(parts, origin.parent)
    except SecretsLostError as error:
        raise ValidationError({"config": str(error)}) from None


def with_parents_checkpoint(origin: Origin, provider: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with the origin's checkpoint. Raises ValidationError for one that can't be gone on from."""
    if origin.parent is None or not origin.checkpoint:
        return config
    check_checkpoint(origin.parent, origin.checkpoint, provider)
    return with_checkpoint(config, origin.checkpoint)


def check_checkpoint(source: Job, path: str, provider: str) -> None:
    """Raise ValidationError when a run at `provider` can't go on from the checkpoint at `path` of `source`."""
    if provider != source.provider:
        message = f"The checkpoint is at another provider: choose {source.provider}, or no checkpoint."
        raise ValidationError({"checkpoint": message})
    found = checkpoints_of(source)
    if path not in [one.path for one in found.items]:
        raise ValidationError({"checkpoint": found.reason or "The run doesn't have this checkpoint."})
