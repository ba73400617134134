"""The checks of SECRET_KEY and of what it seals."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings

from cloudtrain_site.doctor.findings import Finding, bad, ok
from cloudtrain_site.encryption import keys, opens
from cloudtrain_site.extensions import sealed_columns
from cloudtrain_site.monitoring.process_heartbeats import key_digest, living_processes

SHORTEST, FEWEST_CHARACTERS = 32, 8
#: Words that are in the keys of examples.
OF_EXAMPLES = ("insecure", "example", "changeme", "change-me", "secret-key", "your-")
NEW_KEY = (
    "python3 -c 'import secrets; print(secrets.token_urlsafe(50))' makes a new one; the old one goes into "
    "SECRET_KEY_FALLBACKS."
)
#: Of each column the check opens this many of the newest sealed texts and of the oldest, which a former key may have
#: sealed.
SAMPLE = 100
#: It looks for them in this many of the newest rows, and of the oldest.
ROWS = 2000


def secret_key() -> Iterator[Finding]:
    """Check that the key can't be guessed, and that all machines have the same."""
    key = settings.SECRET_KEY
    if len(key) < SHORTEST or len(set(key)) < FEWEST_CHARACTERS:
        yield bad(f"SECRET_KEY has {len(key)} characters: it can be guessed.", NEW_KEY)
    elif any(word in key.lower() for word in OF_EXAMPLES):
        yield bad("SECRET_KEY is copied from an example.", NEW_KEY)
    own = key_digest()
    others = {one.machine for one in living_processes() if one.key_digest not in ("", own)}
    if others:
        yield bad(
            f"Another SECRET_KEY is in use on {', '.join(sorted(others))}: tasks and sessions of one machine are "
            "refused by the other.",
            "Set the same SECRET_KEY on all machines, and restart them.",
        )


def sealed_secrets() -> Iterator[Finding]:
    """Check that what was sealed can be opened: a sample of the newest and the oldest of each kind."""
    looked_at = 0
    for name, label in sealed_columns.items():
        model, _, column = name.rpartition(".")
        rows = apps.get_model(model)._base_manager.order_by()
        sample: dict[object, str] = {}
        for order in ("-pk", "pk"):
            some = rows.filter(pk__in=rows.order_by(order).values("pk")[:ROWS]).exclude(**{column: ""})
            sample.update(some.order_by(order).values_list("pk", column)[:SAMPLE])
        looked_at += len(sample)
        lost = sum(not opens(text, keys()) for text in sample.values())
        if lost:
            yield bad(
                f"{lost} of {len(sample)} samples of {label} can't be decrypted: their key is missing.",
                "Add the former key to SECRET_KEY_FALLBACKS, and restart the site.",
            )
    yield ok(f"{looked_at} samples were decrypted." if looked_at else "Nothing is encrypted.")
