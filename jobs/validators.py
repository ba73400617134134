"""Checks of names and texts from outside."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from cloudtrain_site.names import is_plain_name, made_plain, plain_name
from cloudtrain_site.redaction import mask_text

__all__ = ["NAME_LIMIT", "holds_no_secret", "is_plain_name", "made_plain", "plain_name"]

NAME_LIMIT = 200


def holds_no_secret(text: str) -> None:
    """Raises ValidationError for a text in which something looks like a secret, to be stored and shown as it is."""
    if mask_text(text) != text:
        raise ValidationError("This seems to contain a secret, but it is stored and shown unmasked.", code="secret")
