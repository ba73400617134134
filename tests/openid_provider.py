"""An OpenID provider over HTTP with real signatures, which lies in whatever way a test asks of it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID = "cloudtrain"
CLIENT_SECRET = "not-a-real-secret"

#: Generating one takes a tenth of a second.
_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


@dataclass
class Provider:
    """A provider that signs in whoever `person` is, without a question."""

    issuer: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    #: Claims of the ID token that differ from what they should be; None takes the claim away.
    lies: dict[str, Any] = field(default_factory=dict)
    #: What the metadata has beside or instead of the truth.
    metadata: dict[str, Any] = field(default_factory=dict)
    #: What of a person is told by the userinfo address alone.
    only_in_userinfo: tuple[str, ...] = ()
    #: Which key signs, and which are published.
    signs_with: int = 0
    publishes: tuple[int, ...] = (0,)
    algorithm: str = "RS256"
    #: By path, a status to answer with, and how many seconds to wait before any answer.
    failing: dict[str, int] = field(default_factory=dict)
    pause: float = 0.0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    #: Ends the pauses at the end of a test.
    is_over: threading.Event = field(default_factory=threading.Event)

    def authorize(self, address: str) -> dict[str, str]:
        """Answer an authorization request as a browser would see it: the parameters that come back to the site."""
        query = dict(parse_qsl(urlsplit(address).query))
        assert address.startswith(f"{self.issuer}/authorize?")
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return {"code": code, "state": query["state"]}

    def token_for(self, request: Mapping[str, str]) -> str:
        """Return the ID token for an authorization request."""
        now = int(time.time())
        told = {name: value for name, value in self.person.items() if name not in self.only_in_userinfo}
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": request.get("nonce"),
            **told,
            **self.lies,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        key: Any = _KEYS[self.signs_with] if self.algorithm != "HS256" else CLIENT_SECRET.ljust(32, "-")
        return jwt.encode(claims, key, self.algorithm, headers={"kid": f"key-{self.signs_with}"})

    def exchange(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Answer a token request: the code once, to who has the client's secret and the verifier."""
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (name, secret) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        request = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if request is None or challenge != request["code_challenge"] or form["redirect_uri"] != request["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": self.token_for(request)}

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return what is published at a path."""
        if path.endswith("/.well-known/openid-configuration"):
            addresses = {
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
            }
            return {"issuer": self.issuer, **addresses, **self.metadata}
        if path.endswith("/keys"):
            return {"keys": [_published(index) for index in self.publishes]}
        return dict(self.person) if path.endswith("/userinfo") else None


def _published(index: int) -> dict[str, Any]:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_KEYS[index].public_key()))
    return {**key, "kid": f"key-{index}", "use": "sig", "alg": "RS256"}


@contextmanager
def running_provider() -> Iterator[Provider]:
    provider = Provider(person={"sub": "17", "email": "vera@example.org", "email_verified": True})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond(lambda path: (200, provider.answer(path)))

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
            self.respond(lambda path: provider.exchange(form, self.headers.get("Authorization", "")))

        def respond(self, answer: Any) -> None:
            path = urlsplit(self.path).path
            provider.requests.append(path)
            provider.is_over.wait(provider.pause)
            name = path.rpartition("/")[2]
            status, content = (provider.failing[name], {}) if name in provider.failing else answer(path)
            body = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                pass  # the site didn't wait

        def log_message(self, *args: Any) -> None:
            """The test's output is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}/realm"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        provider.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def callback_of(provider: Provider, redirect: str, **changes: str | None) -> str:
    """Return the query with which the provider sends a browser back to the site."""
    answer: dict[str, str | None] = {**provider.authorize(redirect), **changes}
    return urlencode({name: value for name, value in answer.items() if value is not None})
