"""An ID token is believed only from the provider, for this client, now, in answer to this very sign-in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from cloudtrain_site.accounts.sso.errors import TokenRefusedError
from cloudtrain_site.accounts.sso.tokens import verified_claims
from cloudtrain_site.conf.providers import Secret
from cloudtrain_site.conf.sign_in import SingleSignOn
from tests.openid_provider import CLIENT_ID, Provider

NONCE = "nonce-of-this-sign-in"


@pytest.fixture
def provider() -> Provider:
    return Provider(issuer="https://id.example.org/realm", person={"sub": "17", "email": "vera@example.org"})


def checked(provider: Provider, token: str | None = None) -> dict[str, Any]:
    sso = SingleSignOn("https://id.example.org/realm", CLIENT_ID, Secret("not-a-real-secret"), ("example.org",))
    token = provider.token_for({"nonce": NONCE}) if token is None else token
    return verified_claims(sso, token, provider.answer("/keys"), NONCE)


def test_a_true_token_is_believed(provider: Provider) -> None:
    assert checked(provider)["sub"] == "17"


@pytest.mark.parametrize(
    "lies",
    [
        {"iss": "https://id.example.org"},
        {"iss": "https://id.example.org/realm/"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": None},
        {"aud": [CLIENT_ID, "another-client"]},
        {"azp": "another-client"},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"iat": int(time.time()) + 3600},
        {"nonce": "nonce-of-another-sign-in"},
        {"nonce": None},
        {"nonce": 17},
        {"sub": ""},
        {"sub": None},
    ],
)
def test_a_claim_that_is_wrong_or_missing_refuses_it(provider: Provider, lies: dict[str, Any]) -> None:
    provider.lies = lies
    with pytest.raises(TokenRefusedError):
        checked(provider)


def test_a_key_that_is_no_longer_published_refuses_it(provider: Provider) -> None:
    provider.publishes = (1,)
    with pytest.raises(TokenRefusedError, match="could not be verified"):
        checked(provider)


def test_after_a_change_of_keys_the_new_one_is_believed(provider: Provider) -> None:
    provider.signs_with, provider.publishes = 1, (0, 1)
    assert checked(provider)["sub"] == "17"


def forged(provider: Provider) -> Iterator[str]:
    claims = jwt.decode(provider.token_for({"nonce": NONCE}), options={"verify_signature": False})
    yield jwt.encode(claims, "", "none")
    yield jwt.encode(claims, "a-secret-of-more-than-32-characters!", "HS256", headers={"kid": "key-0"})
    head, body, signature = provider.token_for({"nonce": NONCE}).split(".")
    yield f"{head}.{body}."
    yield f"{head}.{body[:-4]}AAAA.{signature}"
    yield f"{head}.{body}.{signature[:-8]}AAAAAAAA"
    # Signed by a key that is not the one whose id it bears.
    provider.signs_with = 1
    other = provider.token_for({"nonce": NONCE})
    yield f"{head}.{body}.{other.rpartition('.')[2]}"
    yield from ("", "a.b.c", "eyJ9.e30.x", "\x00")


def test_a_forged_token_is_refused(provider: Provider) -> None:
    for token in forged(provider):
        with pytest.raises(TokenRefusedError):
            checked(provider, token)


@pytest.mark.parametrize(
    "key_set", [{}, {"keys": []}, {"keys": [{}]}, {"keys": "none"}, {"keys": [{"kty": "oct", "k": "YQ"}]}]
)
def test_keys_that_are_none_refuse_it(provider: Provider, key_set: dict[str, Any]) -> None:
    sso = SingleSignOn(provider.issuer, CLIENT_ID, Secret("not-a-real-secret"), ("example.org",))
    with pytest.raises(TokenRefusedError):
        verified_claims(sso, provider.token_for({"nonce": NONCE}), key_set, NONCE)


def test_the_refusal_tells_nothing_of_the_token_to_the_person(provider: Provider) -> None:
    provider.lies = {"aud": "another-client"}
    with pytest.raises(TokenRefusedError) as refusal:
        checked(provider)
    assert "another-client" not in str(refusal.value)
    assert refusal.value.detail
