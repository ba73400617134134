"""The site's own address, as links in mails and webhooks need it."""

from __future__ import annotations

from django.conf import settings


def public_address() -> str:
    """Return the site's address without a final slash: the one that is set, else localhost."""
    return set_address() or "http://localhost:8001"


def set_address() -> str:
    """Return the first trusted origin without a wildcard, and without a final slash; empty: there is none."""
    origins = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if "*" not in origin]
    return str(origins[0]).rstrip("/") if origins else ""


def full_link(path: str) -> str:
    """Return the address of a path of this site; "" for none."""
    return f"{public_address()}{path}" if path else ""
