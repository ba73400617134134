"""The keys of a site, in a file apart from its backups."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudtrain_site.backups.manifest import BackupError, write_private

SCRYPT = {"n": 2**17, "r": 8, "p": 1}
MIN_PASSPHRASE = 12


@dataclass(frozen=True, slots=True)
class Keys:
    secret_key: str
    fallbacks: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (self.secret_key, *self.fallbacks)


def read_passphrase(file: Path | None) -> str:
    """Return the passphrase in a file; empty: no file. Raises BackupError for one that is too short."""
    if file is None:
        return ""
    try:
        passphrase = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"The passphrase in {file} can't be read: {error}.") from None
    if len(passphrase) < MIN_PASSPHRASE:
        raise BackupError(f"The passphrase in {file} must have at least {MIN_PASSPHRASE} characters.")
    return passphrase


def write_keys(path: Path, keys: Keys, passphrase: str) -> None:
    """Write the keys for this account alone, encrypted when there is a passphrase."""
    text = json.dumps({"secret_key": keys.secret_key, "fallbacks": keys.fallbacks})
    if passphrase:
        salt = secrets.token_bytes(16)
        values = {
            **SCRYPT,
            "salt": b64encode(salt).decode(),
            "sealed": _cipher(passphrase, salt, SCRYPT).encrypt(text.encode()).decode(),
        }
        text = json.dumps(values)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write_private(path, text)


def read_keys(path: Path, passphrase: str) -> Keys:
    """Return the keys in a file. Raises BackupError."""
    from cryptography.fernet import InvalidToken

    try:
        values = json.loads(path.read_bytes())
        if "sealed" in values:
            if not passphrase:
                raise BackupError(f"The keys in {path} are encrypted: give --passphrase-file FILE.")
            cost = {name: min(int(values[name]), SCRYPT[name]) for name in SCRYPT}
            salt = b64decode(values["salt"])
            values = json.loads(_cipher(passphrase, salt, cost).decrypt(values["sealed"].encode()))
        return Keys(str(values["secret_key"]), tuple(map(str, values["fallbacks"])))
    except InvalidToken:
        raise BackupError(f"The passphrase does not open the keys in {path}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"The keys in {path} can't be read: {error}.") from None


def _cipher(passphrase: str, salt: bytes, cost: dict[str, int]) -> Any:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Fernet(urlsafe_b64encode(Scrypt(salt=salt, length=32, **cost).derive(passphrase.encode())))
