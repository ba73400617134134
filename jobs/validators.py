"""What a text may not be, wherever it comes from."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from cloudtrain_site.redaction import mask_text

NAME_LIMIT = 200
plain_name = RegexValidator(
    r"\A[^\x00-\x1f/\\]+\Z", "A name may not contain control characters or slashes.", code="invalid_name"
)


def holds_no_secret(text: str) -> None:
    """Raises ValidationError for a text in which something looks like a secret, to be stored and shown as it is."""
    if mask_text(text) != text:
        raise ValidationError("This is stored and shown as it is, and seems to hold a secret.", code="secret")
