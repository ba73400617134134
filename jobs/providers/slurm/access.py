"""How Slurm is asked: its address, the token of each request, and the errors. Imports no HTTP library."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.signing import b64_decode, b64_encode

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.providers import SlurmInstance
from jobs.providers.base import ProviderError

#: Slurm's number for a job that it doesn't know.
INVALID_JOB_ID = 2017
MAX_MESSAGE_CHARACTERS = 300
#: A token is made for each request; the clocks of both sides may differ by as much.
TOKEN_SECONDS = 300


class SlurmError(ProviderError):
    """A refusal by Slurm, or no answer.

    `code` is Slurm's own number; None when there is none. `is_cut_off`: the connection broke, another may hold.
    """

    def __init__(self, message: str, *, code: int | None = None, is_cut_off: bool = False, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.code = code
        self.is_cut_off = is_cut_off


def headers(instance: SlurmInstance) -> Mapping[str, str]:
    """Return the headers that say who asks. Raises SlurmError when the key or the token can't be read."""
    return {"X-SLURM-USER-NAME": instance.user, "X-SLURM-USER-TOKEN": _token(instance)}


def _token(instance: SlurmInstance) -> str:
    try:
        key = instance.key.read_bytes()
        token = _signed(key, instance.user) if key else instance.token.read()
    except ConfigurationError as error:
        # A submitter may read it: the path stays out.
        name, file = ("key_file", instance.key.file) if instance.key.file else ("token_file", instance.token.file)
        raise SlurmError(
            str(error).replace(str(file), f"The `{name}` of {instance.name}"), nothing_created=True
        ) from None
    if not token:
        raise SlurmError(f"{instance.label} has no token: set `key_file` or `token_file`.", nothing_created=True)
    return token


def _signed(key: bytes, user: str) -> str:
    """Return a JSON web token. PyJWT would refuse keys that `openssl genrsa` made, as Slurm's guide once said to."""
    now = int(time.time())
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iat": now, "exp": now + TOKEN_SECONDS, "sun": user})
    content = b".".join(b64_encode(json.dumps(part).encode()) for part in parts)
    return (content + b"." + b64_encode(hmac.digest(key, content, "sha256"))).decode()


def refused_token(instance: SlurmInstance) -> SlurmError:
    """Return the error of a request whose token Slurm didn't take. Slurm itself doesn't say why."""
    return SlurmError(f"Slurm refuses the token. {_advice(instance)}", nothing_created=True)


def _advice(instance: SlurmInstance) -> str:
    user = instance.user
    if instance.key:
        return (
            f"The token is made with the `key_file` of {instance.name}. That file must be the cluster's signing key, "
            f"{user!r} must be an account of the cluster, and both clocks must agree."
        )
    make = f"Make a new one with `scontrol token username={user} lifespan=SECONDS`"
    place = f"and write it to the `token_file` of {instance.name}." if instance.token.file else "and set its variable."
    return f"{_fault_of(_claims(instance), user)} {make} {place}"


def _claims(instance: SlurmInstance) -> Mapping[str, Any]:
    try:
        claims = json.loads(b64_decode(instance.token.read().split(".")[1].encode()))
    except (IndexError, ValueError, RecursionError, ConfigurationError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _fault_of(claims: Mapping[str, Any], user: str) -> str:
    expires, owner = claims.get("exp"), claims.get("sun", claims.get("username"))
    if isinstance(expires, int | float) and 0 < expires < time.time():
        return f"It expired at {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M:%S} UTC."
    if isinstance(owner, str) and owner != user:
        return f"It is {owner!r}'s, and not {user!r}'s."
    return "It is not from this cluster, or has expired."


def read_errors(body: Mapping[str, Any]) -> Sequence[tuple[int | None, str]]:
    """Return Slurm's errors, each with its number. The names of their fields differ by address and version."""
    errors = body.get("errors")
    return [_read_error(error) for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []


def _read_error(error: Mapping[str, Any]) -> tuple[int | None, str]:
    numbers = (error.get(name) for name in ("error_number", "error_code", "errno"))
    texts = (error.get(name) for name in ("error", "description"))
    code = next((number for number in numbers if isinstance(number, int)), None)
    text = next((text for text in texts if isinstance(text, str) and text), "no reason was given")
    return code, text.strip()[:MAX_MESSAGE_CHARACTERS]
