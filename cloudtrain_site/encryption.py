"""The secrets of a config, apart from it: extracted, encrypted, and restored.

`redaction` decides what is a secret; its mask stays in the secret's place. The keys are derived from SECRET_KEY, and
from each of SECRET_KEY_FALLBACKS for secrets encrypted before a change.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings

from cloudtrain_site.redaction import MASK, MIN_KNOWN_LENGTH, mask_secrets, mask_text

# Imported at the first secret, in the functions below: cryptography takes 6 MB, and few configs contain a secret.
if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

Path: TypeAlias = tuple[str | int, ...]
#: A secret and its place.
Secret: TypeAlias = tuple[Path, Any]

SEALING = b"cloudtrain sealed secrets"
PRINTING = b"cloudtrain fingerprints of secrets"
#: The end of a shortened line.
CUT = "..."
#: A text that is masked wherever a secret would be.
_PROBE = "x1" * 12


class SecretsLostError(Exception):
    """The secrets can't be decrypted: they were encrypted under another SECRET_KEY, or are damaged."""

    def __init__(self) -> None:
        super().__init__(
            "The secrets of this config can't be decrypted: SECRET_KEY was changed and the old one is not "
            "in SECRET_KEY_FALLBACKS. Enter the secrets again."
        )


def extract_secrets(value: Any) -> tuple[Any, list[Secret]]:
    """Return a copy of `value` with its secrets masked, and the secrets."""
    masked = mask_secrets(value)
    return masked, list(_changes(value, masked, ()))


def _changes(value: Any, masked: Any, path: Path) -> Iterator[Secret]:
    if value is masked or value == masked:
        return
    if isinstance(value, dict) and isinstance(masked, dict) and value.keys() == masked.keys():
        for key, item in value.items():
            yield from _changes(item, masked[key], (*path, key))
    elif isinstance(value, list) and isinstance(masked, list):
        for index, item in enumerate(value):
            yield from _changes(item, masked[index], (*path, index))
    else:
        yield path, value


def restore_secrets(value: Any, secrets: Sequence[Secret]) -> Any:
    """Return a copy of `value` with its secrets. Raises SecretsLostError when their places are gone."""
    for path, secret in secrets:
        value = _with(value, path, secret)
    return value


def _with(value: Any, path: Path, secret: Any) -> Any:
    if not path:
        return secret
    try:
        copied = value.copy()
        copied[path[0]] = _with(value[path[0]], path[1:], secret)
    except (AttributeError, LookupError, TypeError):
        raise SecretsLostError from None
    return copied


def value_at(value: Any, path: Path) -> Any:
    """Return the value at `path`; None: there is none."""
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def seal(secrets: Sequence[Secret]) -> str:
    """Return the secrets as one encrypted text; empty: there are none."""
    return _ciphers(keys()).encrypt(json.dumps(secrets).encode()).decode() if secrets else ""


def open_sealed(sealed: str) -> list[Secret]:
    """Decrypt the result of `seal`. Raises SecretsLostError."""
    if not sealed:
        return []
    from cryptography.fernet import InvalidToken

    try:
        return [(tuple(path), secret) for path, secret in json.loads(_ciphers(keys()).decrypt(sealed.encode()))]
    except InvalidToken:
        raise SecretsLostError from None


def opens(sealed: str, secret_keys: tuple[str, ...]) -> bool:
    """Whether one of these keys decrypts the result of `seal`."""
    from cryptography.fernet import InvalidToken

    try:
        _ciphers(secret_keys).decrypt(sealed.encode())
    except InvalidToken:
        return False
    return True


def keys() -> tuple[str, ...]:
    """Return the key that encrypts, and those that only decrypt."""
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=8)
def _ciphers(secret_keys: tuple[str, ...]) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(urlsafe_b64encode(_derived(key, SEALING))) for key in secret_keys])


@lru_cache(maxsize=16)
def _derived(key: str, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key.encode())


def fingerprints(secrets: Sequence[Secret], key: str = "") -> dict[str, str]:
    """Return for each place (as JSON) a keyed fingerprint of its secret, which doesn't reveal the secret."""
    if not secrets:
        return {}
    printing = _derived(key or settings.SECRET_KEY, PRINTING)
    return {json.dumps(path): _print(printing, path, secret) for path, secret in secrets}


def _print(key: bytes, path: Path, secret: Any) -> str:
    canonical = json.dumps([path, secret], sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, canonical.encode(), "sha256").hex()


def masked_places(value: Any, path: str = "") -> list[str]:
    """Return the dotted paths in `value` where a mask has no secret. It may be nested deeper than our stack."""
    places, waiting = [], [(path, value)]
    while waiting:
        where, item = waiting.pop()
        if isinstance(item, str):
            places += [where] if _is_masked(item) else []
        elif isinstance(item, Mapping):
            inside = [(f"{where}.{key}" if where else str(key), one) for key, one in item.items()]
            waiting += reversed(inside)
        elif isinstance(item, list):
            waiting += reversed([(f"{where}[{index}]", one) for index, one in enumerate(item)])
    return places


def _is_masked(text: str) -> bool:
    return MASK in text and (text == MASK or mask_text(text.replace(MASK, _PROBE)) == text)


class SecretScrubber:
    """Replaces each byte of a secret in a text with a star, so that offsets in the text stay the same."""

    def __init__(self, secrets: Sequence[Secret] = ()) -> None:
        texts = {text.encode(errors="surrogatepass") for text in _texts([secret for _, secret in secrets])}
        # The longest first: one may be a part of another.
        self._texts_of_secrets = sorted(texts, key=len, reverse=True)
        #: The bytes to read beyond both ends of a piece of a text, to find each secret that is partly in the piece.
        self.reach = max(map(len, self._texts_of_secrets), default=1) - 1

    def __call__(self, data: bytes) -> bytes:
        """Return `data` scrubbed, also of parts of a secret at its beginning and its end."""
        for secret in self._texts_of_secrets:
            data = data.replace(secret, b"*" * len(secret))
            lengths = range(len(secret) - 1, MIN_KNOWN_LENGTH - 1, -1)
            begun = next((length for length in lengths if data.endswith(secret[:length])), 0)
            data = data[: len(data) - begun] + b"*" * begun
            ended = next((length for length in lengths if data.startswith(secret[-length:])), 0)
            data = b"*" * ended + data[ended:]
        return data


def scrub(text: str, secrets: Sequence[Secret]) -> str:
    """Return `text` scrubbed as by SecretScrubber. Dots at its end may stand for a cut-off rest."""
    scrubber, dots = SecretScrubber(secrets), CUT if text.endswith(CUT) else ""
    data = text.removesuffix(dots).encode(errors="surrogatepass")
    return scrubber(data).decode(errors="surrogatepass") + dots


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in a secret that are long enough to search for, plain and as JSON and Python write them."""
    if isinstance(value, str) and len(value) >= MIN_KNOWN_LENGTH:
        yield from (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])
    elif isinstance(value, Mapping):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
