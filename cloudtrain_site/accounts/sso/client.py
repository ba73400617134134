"""The requests to the identity provider: its metadata, its keys, tokens for a code, and what it says of a person."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx

from cloudtrain_site.accounts.sso.errors import ProviderAwayError, TokenRefusedError
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.sign_in import SingleSignOn, is_safe_endpoint
from cloudtrain_site.correlation_ids import HEADER, get_correlation_id
from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.http_client import ssl_context

#: Of one answer: a hundred keys are 50 kB.
MAX_ANSWER_BYTES = 1_000_000
_DISCOVERY = "/.well-known/openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class Tokens:
    id_token: str
    access_token: str


class ProviderClient:
    """One sign-in's requests. Each raises ProviderAwayError when the provider is away, slow or makes no sense.

    No redirect is followed: the addresses are the ones that the provider published.
    """

    def __init__(self, sso: SingleSignOn) -> None:
        self.sso = sso
        self._metadata: Mapping[str, Any] | None = None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the provider publishes about itself, checked to be about the configured issuer."""
        if self._metadata is None:
            metadata = self._answer("GET", self.sso.issuer.rstrip("/") + _DISCOVERY)
            if metadata.get("issuer") != self.sso.issuer:
                raise ProviderAwayError(f"its metadata is of the issuer {metadata.get('issuer')!r}")
            for name in _ENDPOINTS:
                if not isinstance(metadata.get(name), str) or not is_safe_endpoint(metadata[name]):
                    raise ProviderAwayError(f"its metadata has no usable {name}")
            self._metadata = metadata
        return self._metadata

    def authorization_address(self, parameters: Mapping[str, str]) -> str:
        """Return the address at the provider to which a browser goes to sign in."""
        endpoint: str = self.metadata["authorization_endpoint"]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    def tokens(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """Return the tokens for a code. Raises TokenRefusedError for a code that the provider doesn't take."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        answer = self._answer("POST", self.metadata["token_endpoint"], **self._authenticated(form))
        id_token, access_token = answer.get("id_token"), answer.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise TokenRefusedError("there is no ID token in the answer")
        return Tokens(id_token, access_token)

    def key_set(self) -> Mapping[str, Any]:
        """Return the keys that the provider publishes now."""
        return self._answer("GET", self.metadata["jwks_uri"])

    def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """Return the claims that the provider keeps out of the token; empty when it publishes no address for them."""
        endpoint = self.metadata.get("userinfo_endpoint")
        if not isinstance(endpoint, str) or not is_safe_endpoint(endpoint) or not access_token:
            return {}
        return self._answer("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})

    def _authenticated(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the request's options with the client's secret, in the way that the provider takes."""
        try:
            secret = self.sso.client_secret.read()
        except ConfigurationError as error:
            raise ProviderAwayError(str(error)) from None
        methods = self.metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" in methods:
            return {"data": form, "auth": (quote_plus(self.sso.client_id), quote_plus(secret))}
        return {"data": {**form, "client_id": self.sso.client_id, "client_secret": secret}}

    def _answer(self, method: str, address: str, **options: Any) -> Mapping[str, Any]:
        """Return the JSON object of an answer within the time allowed, which is for the whole of it."""
        headers = {"Accept": "application/json", HEADER: get_correlation_id(), **options.pop("headers", {})}
        deadline = time.monotonic() + self.sso.timeout_seconds
        lend_connection()
        try:
            with (
                httpx.Client(timeout=self.sso.timeout_seconds, verify=ssl_context()) as client,
                client.stream(method, address, headers=headers, **options) as response,
            ):
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                        raise ProviderAwayError(f"the answer of {address} is too long or too slow")
                answer = httpx.Response(response.status_code, content=bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderAwayError(f"{type(error).__name__} at {address}") from None
        return _object_of(answer, address)


def _object_of(answer: httpx.Response, address: str) -> Mapping[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.status_code == 400 and isinstance(content, dict) and content.get("error") == "invalid_grant":
        raise TokenRefusedError("the provider doesn't take the code")
    if answer.status_code != 200 or not isinstance(content, dict):
        error = content.get("error") if isinstance(content, dict) else "no JSON object"
        raise ProviderAwayError(f"status {answer.status_code} of {address} with {error!r}")
    return content
