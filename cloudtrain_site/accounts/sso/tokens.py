"""The check of an ID token: who signed it, for whom, when, and in answer to which sign-in."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import jwt

from cloudtrain_site.accounts.sso.errors import TokenRefusedError
from cloudtrain_site.conf.sign_in import SingleSignOn

#: Signatures with a public key. Never `none`, and never one with a secret that both sides have.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: How far the provider's clock may be off.
LEEWAY_SECONDS = 60
_REQUIRED = ("iss", "sub", "aud", "exp", "iat", "nonce")


def verified_claims(sso: SingleSignOn, token: str, key_set: Any, nonce: str) -> dict[str, Any]:
    """Return the token's claims. `key_set` are the keys that the provider publishes now. Raises TokenRefusedError."""
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise TokenRefusedError(f"algorithm {header.get('alg')!r}")
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(key_set, header.get("kid")),
            algorithms=[header["alg"]],
            audience=sso.client_id,
            issuer=sso.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": list(_REQUIRED)},
        )
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
        raise TokenRefusedError(f"{type(error).__name__}: {error}") from None
    _check_party(sso, claims)
    if not isinstance(claims["nonce"], str) or not hmac.compare_digest(claims["nonce"].encode(), nonce.encode()):
        raise TokenRefusedError("the nonce is of another sign-in")
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise TokenRefusedError("the subject is empty")
    return claims


def _check_party(sso: SingleSignOn, claims: Mapping[str, Any]) -> None:
    """Refuse a token that was made for another client, though we are among its audience."""
    party = claims.get("azp")
    is_shared = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if party != sso.client_id and (party is not None or is_shared):
        raise TokenRefusedError(f"the token was made for {party!r}")


def _key(key_set: Any, key_id: Any) -> Any:
    """Return the published key with that id; without an id, the only one."""
    keys = [key for key in jwt.PyJWKSet.from_dict(key_set).keys if key.public_key_use in (None, "sig")]
    found = keys if key_id is None else [key for key in keys if key.key_id == key_id]
    if len(found) != 1:
        raise TokenRefusedError(f"{len(found)} published keys for the key id {key_id!r}")
    return found[0]
