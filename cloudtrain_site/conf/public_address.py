"""The site's own address, as links in mails and webhooks need it."""

from __future__ import annotations

from django.conf import settings


def public_address() -> str:
    """Return the site's address without a final slash: the first trusted origin without a wildcard, else localhost."""
    origins = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if "*" not in origin]
    return str(origins[0]).rstrip("/") if origins else "http://localhost:8001"


def full_link(path: str) -> str:
    """Return the address of a path of this site; "" for none."""
    return f"{public_address()}{path}" if path else ""
