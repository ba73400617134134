"""The secrets of jobs and stored configs: sealed when stored, unsealed when needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from cloudtrain_site.encryption import (
    Path,
    Secret,
    SecretScrubber,
    SecretsLostError,
    extract_secrets,
    masked_places,
    open_sealed,
    restore_secrets,
    scrub,
    seal,
    value_at,
)
from cloudtrain_site.notices.targets import host_of
from cloudtrain_site.redaction import MASK, mask_secrets, mask_text

ADDRESS = "webhook_url"
#: The columns of a job that may hold secrets.
SECRET_COLUMNS = ("config", "dataloader_config", ADDRESS)
#: The columns that a stored config has.
CONFIG_COLUMNS = ("config", "dataloader_config")


class Sealed(Protocol):
    """A row with configs and, apart from them, their secrets."""

    sealed: str


def sealed_columns(**parts: Any) -> dict[str, Any]:
    """Return the columns with their secrets masked, and the column `sealed`."""
    masked, secrets = extract_secrets(parts)
    address = parts.get(ADDRESS, "")
    if (shown := masked_address(address)) != address:
        masked[ADDRESS] = shown
        secrets = [*(secret for secret in secrets if secret[0] != (ADDRESS,)), ((ADDRESS,), address)]
    return {**masked, "sealed": seal(secrets)}


def masked_address(address: str) -> str:
    """Return what is shown of a webhook's address: whoever knows the whole of it can call it."""
    parts = urlsplit(address)
    is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    return address if is_bare else f"{parts.scheme}://{host_of(address)}/{MASK}"


def secrets_of(row: Sealed, parts: Sequence[str] = CONFIG_COLUMNS) -> list[Secret]:
    """Return the secrets in these columns. Raises SecretsLostError."""
    return [(path, secret) for path, secret in open_sealed(row.sealed) if path[0] in parts]


def unsealed_columns(row: Sealed, parts: Sequence[str] = CONFIG_COLUMNS) -> dict[str, Any]:
    """Return the columns as they were submitted. Raises SecretsLostError."""
    columns: dict[str, Any] = restore_secrets({part: getattr(row, part) for part in parts}, secrets_of(row, parts))
    return columns


def without_secrets(row: Sealed, text: str) -> str:
    """Return `text`, a provider's message, without the row's own secrets."""
    if not row.sealed or not text:
        return text
    try:
        return scrub(text, open_sealed(row.sealed))
    except SecretsLostError:
        return mask_text(text)


def masked_json(content: bytes) -> bytes:
    """Return the content of a config's file without its secrets."""
    try:
        value = json.loads(content)
    except ValueError:
        return mask_text(content.decode(errors="replace")).encode()
    masked = mask_secrets(value)
    return content if masked == value else json.dumps(masked, ensure_ascii=False, indent=1).encode()


def scrubber_of(row: Sealed) -> SecretScrubber:
    """Return a masker of the row's own secrets in pieces of a text. Raises SecretsLostError."""
    return SecretScrubber(open_sealed(row.sealed) if row.sealed else ())


def with_kept_secrets(parts: Mapping[str, Any], kept: Sealed | None) -> dict[str, Any]:
    """Return `parts` with the secrets of `kept` wherever they repeat its mask. Raises SecretsLostError."""
    if kept is None or not masked_places(parts):
        return dict(parts)
    secrets, masked = secrets_of(kept, tuple(parts)), {part: getattr(kept, part) for part in parts}
    repeated = [(path, secret) for path, secret in secrets if _repeats(parts, masked, path)]
    columns: dict[str, Any] = restore_secrets(dict(parts), repeated)
    return columns


def _repeats(value: Any, masked: Any, path: Path) -> bool:
    """Whether both have the same value at `path`, in the same lists: no item of a list has moved up."""
    if value_at(value, path) != value_at(masked, path):
        return False
    list_paths = [path[:length] for length, step in enumerate(path) if isinstance(step, int)]
    return all(_identities(value_at(value, at)) == _identities(value_at(masked, at)) for at in list_paths)


def _identities(items: Any) -> list[Any]:
    return [item.get("id") if isinstance(item, dict) else None for item in items]


def objection_to_masks(**parts: Any) -> str:
    """Return why a config in which masks stand for secrets can't be taken; empty when there are none."""
    places = masked_places(parts)
    if not places:
        return ""
    return (
        f'{", ".join(places)}: "***" is a masked secret that is not stored here. Enter the secret itself, or submit '
        "the stored config by its name (config_name_to_load)."
    )
