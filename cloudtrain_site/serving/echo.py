"""What the site sees of a request of the doctor: told to whoever has a token that SECRET_KEY has signed lately."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass

from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponseBase

from cloudtrain_site.serving.peer import PEER, PEER_PORT

REQUEST_HEADER = "X-Cloudtrain-Doctor"
ANSWER_HEADER = "X-Cloudtrain-Doctor-Saw"
MAX_AGE_SECONDS = 60
_signer = TimestampSigner(salt="cloudtrain.doctor")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the site sees it."""

    token: str
    scheme: str
    host: str
    #: The address of the client, and where the connection came from.
    client: str
    peer: str
    peer_port: int
    #: The proxy's headers, as they came.
    forwarded_for: str
    forwarded_proto: str
    #: The key of its heartbeat, which is in the database that the site uses.
    process: str


def new_token() -> str:
    return _signer.sign(secrets.token_urlsafe(9))


def token_of(request: HttpRequest) -> str:
    """Return the doctor's token; empty: it has none that is valid."""
    token = str(request.headers.get(REQUEST_HEADER, ""))
    try:
        _signer.unsign(token, max_age=MAX_AGE_SECONDS)
    except BadSignature:
        return ""
    return token


def tell(request: HttpRequest, response: HttpResponseBase, process: str) -> None:
    """Put what is seen into a header of the response, if it is the doctor who asks. `process`: see Seen."""
    if not (token := token_of(request)):
        return
    scope = getattr(request, "scope", {})
    seen = Seen(
        token=token,
        scheme=request.scheme or "",
        host=request.get_host(),
        client=str(request.META.get("REMOTE_ADDR") or ""),
        peer=scope.get(PEER, ""),
        peer_port=scope.get(PEER_PORT, 0),
        forwarded_for=request.headers.get("X-Forwarded-For", ""),
        forwarded_proto=request.headers.get("X-Forwarded-Proto", ""),
        process=process,
    )
    response.headers[ANSWER_HEADER] = json.dumps(asdict(seen))


def seen_in(header: str | None, token: str) -> Seen | None:
    """Return what the answer to the request with `token` tells; None: nothing, or it is another's answer."""
    try:
        seen = Seen(**json.loads(header or ""))
    except (ValueError, TypeError):
        return None
    return seen if seen.token == token else None
