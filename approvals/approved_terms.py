"""The terms of a job that an approval covers, their fingerprint, and the differences of two."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from cloudtrain_site.database.prepared import Prepared
from cloudtrain_site.encryption import fingerprints, keys
from cloudtrain_site.redaction import mask_secrets
from cloudtrain_site.wording.values import money
from jobs.configs.secrets import secrets_of
from jobs.configs.submission import digest_of
from jobs.models import Job
from jobs.runs.changes import LABELS, VALUE_TEXTS

COST = "estimated_cost_usd"
SECRETS = "secrets"
#: A reason names the first differences, and counts the others.
MAX_DIFFERENCES = 12
MAX_VALUE_CHARS = 60
TERM_LABELS = LABELS | {COST: "Estimated cost"}
TERM_TEXTS = VALUE_TEXTS | {COST: lambda text: money(Decimal(text))}


def terms_of(job: Job, key: str = "") -> dict[str, Any]:
    """Return all that decides what runs and what it costs. Of secrets only the fingerprints under `key` are in it.

    Raises SecretsLostError.
    """
    cost = job.estimated_cost_usd
    terms = {
        "config": job.config,
        "dataloader_config": job.dataloader_config,
        "dataset": job.dataset_id,
        "provider": job.provider,
        "hardware_profile": job.hardware_profile,
        COST: None if cost is None else f"{cost:.4f}",
    }
    return terms | ({SECRETS: fingerprints(secrets_of(job), key)} if job.sealed else {})


def possible_terms(job: Job) -> list[dict[str, Any]]:
    """Return the terms under each known SECRET_KEY, the present one first. Raises SecretsLostError."""
    return [terms_of(job, key) for key in keys()] if job.sealed else [terms_of(job)]


def stored_terms(job: Job) -> dict[str, Any]:
    """Return the terms as the database has them: it may write a number another way than the client did."""
    return terms_of(stored_job(job))


_WITH_TERMS = Prepared(
    lambda job: Job.objects.filter(pk=job).only(
        "config", "dataloader_config", "dataset", "provider", "hardware_profile", COST, "sealed"
    )
)


def stored_job(job: Job) -> Job:
    return _WITH_TERMS(job.pk)[0]


def digest_of_terms(terms: dict[str, Any]) -> str:
    return digest_of(terms)


def still_covers(approved: dict[str, Any], current: dict[str, Any]) -> bool:
    """Whether an approval covers a retry: the same in everything, and not estimated to cost more.

    Each finished job moves the estimates a little, so a lower estimate needs no new approval.
    """
    without_cost = {**current, COST: approved.get(COST)}
    if digest_of(without_cost) != digest_of(approved):
        return False
    old, new = approved.get(COST), current.get(COST)
    return new == old if old is None or new is None else Decimal(new) <= Decimal(old)


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return the differences of two terms as a text; secrets are masked."""
    before, after = dict(_leaves(_without_secrets(old))), dict(_leaves(_without_secrets(new)))
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if not paths:
        return "a secret in it has changed"
    parts = [
        f"{TERM_LABELS.get(path, path)}: {_value_at(path, before)} → {_value_at(path, after)}"
        for path in paths[:MAX_DIFFERENCES]
    ]
    if len(paths) > MAX_DIFFERENCES:
        parts.append(f"and {len(paths) - MAX_DIFFERENCES} more")
    return "; ".join(parts)


def _value_at(path: str, leaves: dict[str, str]) -> str:
    text = leaves.get(path, "nothing")
    return text if text == "nothing" else TERM_TEXTS.get(path, str)(text)


def _without_secrets(terms: dict[str, Any]) -> Any:
    return mask_secrets({name: value for name, value in terms.items() if name != SECRETS})


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each single value with its path. Masking has bounded the depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        yield path, _shorten(value)
        return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _shorten(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"
