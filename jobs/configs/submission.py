"""A submitted training: read, checked, and complete."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from cloudtrain_site.encryption import extract_secrets, fingerprints
from jobs.configs.secrets import SECRET_COLUMNS, sealed_columns

#: The contract's limit for one config.
CONFIG_LIMIT_BYTES = 1_000_000
ADDRESS_LIMIT = 500
TOO_LARGE_A_NUMBER = "It contains a number that is too large, such as 1e400. The largest is about 1.8e308."
HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")

#: The columns of what a job may cost at most.
FUSE_COLUMNS = ("max_cost_usd", "fuse_action", "fuse_grace_percent")


@dataclass(frozen=True, slots=True)
class Submission:
    """One request for a training, with every default filled in."""

    provider: str
    #: With its secrets: never to be written anywhere but by `columns`.
    config: dict[str, Any] = field(repr=False)
    config_name: str
    hardware_profile: str
    dataloader_config: list[Any] = field(default_factory=list, repr=False)
    tracker_run_name: str = ""
    webhook_url: str = field(default="", repr=False)
    #: The id of an upload.
    dataset: str = ""
    #: What it may cost at most, in US dollars.
    max_cost_usd: Decimal | None = None
    #: Names of its organization's tags; they decide nothing.
    tags: tuple[str, ...] = ()
    #: What happens then, as in `jobs.fuses.actions`; None: as the rules or the operator say. Likewise the grace.
    fuse_action: str | None = None
    fuse_grace_percent: int | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns that may hold secrets: masked, and the secrets sealed."""
        columns = sealed_columns(**{part: getattr(self, part) for part in SECRET_COLUMNS})
        return {**columns, "webhook_url": columns["webhook_url"][:ADDRESS_LIMIT]}

    def fuse(self) -> dict[str, Any]:
        """Return the columns of what it may cost at most."""
        return {name: getattr(self, name) for name in FUSE_COLUMNS}

    def digest(self, key: str = "") -> str:
        """Return a fingerprint (SHA-256, hex) of everything that decides what runs and what it costs.

        Secrets are included by their fingerprints under `key`, a SECRET_KEY, so that no guess of one can be tested on
        it.
        """
        masked, secrets = extract_secrets({part: getattr(self, part) for part in SECRET_COLUMNS})
        fields = asdict(self) | masked
        del fields["tags"]
        if secrets:
            fields["secrets"] = fingerprints(secrets, key)
        if not self.dataset:
            # Left out, as before there were datasets: a replayed idempotency key of then is still the same request.
            del fields["dataset"]
        for name in FUSE_COLUMNS:
            if fields[name] is None:
                del fields[name]
        return digest_of(fields)


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of `value` as JSON with sorted keys.

    As it was written: two spellings of one setting have two digests. An approval covers, and a key repeats, what was
    written and nothing that merely reads alike: the reading knows the settings that decide the cost, and a trainer of
    another kind may tell the spellings apart.
    """
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def problem_with(value: Any) -> str | None:
    """Return why `value`, read from JSON, can't be stored as a config, in one sentence; None when it can."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return TOO_LARGE_A_NUMBER
    if len(text) > CONFIG_LIMIT_BYTES:
        return f"It is larger than {CONFIG_LIMIT_BYTES // 1_000_000} MB."
    if "\\u" not in text:
        return None  # JSON would write both of what follows so
    for text in _strings(value):
        if "\x00" in text:
            return "It contains a NUL character, which can't be stored."
        if HALF_OF_A_PAIR.search(text):
            return "It contains half of a surrogate pair, which is not text."
    return None


def _strings(value: Any) -> Iterator[str]:
    """Yield every key and string in `value`, however deep; without recursion, since a client chose the depth."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            rest.extend(item)
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
