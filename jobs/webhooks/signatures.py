"""Verification of webhooks: signatures of the Standard Webhooks scheme, over the raw bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum

PREFIX = "whsec_"
#: How old, or how far ahead of our clock, a delivery may be.
TOLERANCE_SECONDS = 300
#: Longer than any sender's header; a longer one is refused unread.
MAX_HEADER_CHARACTERS = 4096


class Check(StrEnum):
    VALID = "valid"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    STALE = "stale"


def check(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> Check:
    """Verify a delivery. Never raises, whatever headers and body hold; keys of `headers` are in lower case.

    A wrong signature is reported before a wrong time: only a sender who knows the secret learns that its clock is off.
    """
    values = [headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
    if not any(values):
        return Check.UNSIGNED
    delivery_id, timestamp, signatures = values
    key = _key(secret)
    if not key or not all(values) or any(len(text) > MAX_HEADER_CHARACTERS for text in values):
        return Check.FORGED
    signed = b".".join((delivery_id.encode("utf-8", "replace"), timestamp.encode("utf-8", "replace"), body))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    if not _is_among(expected, signatures):
        return Check.FORGED
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return Check.STALE
    return Check.VALID if abs(now - int(timestamp)) <= TOLERANCE_SECONDS else Check.STALE


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_among(expected: bytes, signatures: str) -> bool:
    """Several signatures are sent while a secret is being replaced; those of another version are ignored."""
    versioned = (signature.partition(",") for signature in signatures.split(" "))
    # Every one is compared, each in constant time.
    matches = [
        hmac.compare_digest(expected, value.encode("utf-8", "replace"))
        for version, _, value in versioned
        if version == "v1"
    ]
    return any(matches)
