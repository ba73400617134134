"""The checks that ask the site at its public address, as browsers do: through its proxy.

They are made with the standard library's client, of which each step has a time limit.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil
from urllib.parse import urlsplit

from cloudtrain_site import extensions
from cloudtrain_site.conf.public_address import public_address, set_address
from cloudtrain_site.doctor.findings import Finding, bad, ok, skipped, warn
from cloudtrain_site.events.publish import DOCTORS_CHANNEL, Event, publish
from cloudtrain_site.http_client import ssl_context
from cloudtrain_site.models import SiteProcess
from cloudtrain_site.serving.body_limit import DEFAULT_MAX_BYTES
from cloudtrain_site.serving.echo import ANSWER_HEADER, REQUEST_HEADER, Seen, new_token, seen_in

STEP_SECONDS = 2.0
LIVE, EVENTS, SUBMISSIONS = "/api/cloud/health/live", "/api/events", "/api/cloud/jobs/submit"
#: A certificate is renewed by then.
RENEWED_DAYS = 14
LOOPBACK = ("127.0.0.1", "::1")
REDIRECTS = range(300, 400)
EVENT = "doctor"
ENVIRONMENT = "Run this command as the site's user with the site's environment, as docs/deploying.md shows."


class Visit(http.client.HTTPConnection):
    """A connection to the public address."""

    def __init__(self) -> None:
        parts = urlsplit(public_address())
        is_tls = parts.scheme == "https"
        super().__init__(parts.hostname or "", parts.port or (443 if is_tls else 80), timeout=STEP_SECONDS)
        self._tls = ssl_context() if is_tls else None
        #: None without TLS.
        self.certificate_ends: datetime | None = None

    def connect(self) -> None:
        super().connect()
        if self._tls is not None:
            self.sock = tls = self._tls.wrap_socket(self.sock, server_hostname=self.host)
            certificate = tls.getpeercert() or {}
            self.certificate_ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)

    def ask(self, path: str, token: str) -> http.client.HTTPResponse:
        self.request("GET", path, headers={REQUEST_HEADER: token})
        return self.getresponse()

    def first_line_for(self, path: str, size: int) -> bytes:
        """Return the first line of the answer to the head of a POST of `size` bytes. The body is never sent."""
        self.putrequest("POST", path, skip_accept_encoding=True)
        self.putheader("Content-Type", "application/octet-stream")
        self.putheader("Content-Length", str(size))
        self.putheader("Expect", "100-continue")
        self.endheaders()
        with self.sock.makefile("rb") as answer:
            return answer.readline(200)


@contextmanager
def visit() -> Iterator[Visit]:
    connection = Visit()
    try:
        yield connection
    finally:
        connection.close()


def address() -> Iterator[Finding]:
    """Check that this site answers at its address, and sees the scheme and the host that browsers use."""
    where = set_address()
    if not where:
        yield skipped("No public address is set (CSRF_TRUSTED_ORIGINS).")
        return
    token = new_token()
    try:
        with visit() as connection:
            answer = connection.ask(LIVE, token)
            ends = connection.certificate_ends
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
        yield bad(f"Browsers refuse the certificate of {where}: {reason}.", "certbot renew, or add the host to it")
        return
    except (OSError, http.client.HTTPException) as error:
        yield skipped(f"{where} can't be reached from here: {_reason(error)}.")
        return
    seen = seen_in(answer.headers.get(ANSWER_HEADER), token)
    if seen is None:
        yield _not_ours(where, answer.status, answer.headers)
        return
    yield from _as_browsers_see(where, seen)
    if ends is not None and (days := (ends - datetime.now(UTC)).days) < RENEWED_DAYS:
        yield warn(f"The certificate of {where} ends in {days} days.", "certbot renew")
    if not SiteProcess.objects.filter(pk=seen.process).exists():
        yield bad(f"The site at {where} uses another database than this command.", ENVIRONMENT)
    yield ok(f"This site answers at {where}.")


def _not_ours(where: str, status: int, headers: http.client.HTTPMessage) -> Finding:
    """Return what it means that the answer is not one of this site."""
    if status in REDIRECTS:
        target = urlsplit(headers.get("Location", ""))
        return bad(
            f"{where} redirects to {target.scheme}://{target.netloc}: the site's forms and links break.",
            f"CSRF_TRUSTED_ORIGINS={target.scheme}://{target.netloc}",
        )
    if status in (502, 503, 504):
        return bad(f"The proxy at {where} answers {status}: it does not reach the site.", "systemctl status cloudtrain")
    if status == http.client.BAD_REQUEST:
        host = urlsplit(where).hostname
        return bad(f"The site refuses the host that the proxy passes on from {where}.", f"ALLOWED_HOSTS={host}")
    return bad(f"{where} answers {status}, and is not this site, or has another SECRET_KEY.", ENVIRONMENT)


def _as_browsers_see(where: str, seen: Seen) -> Iterator[Finding]:
    parts = urlsplit(where)
    if seen.scheme != parts.scheme and not seen.forwarded_proto:
        yield bad(
            f"The site sees {seen.scheme} where browsers use {parts.scheme}: forms are refused.",
            "proxy_set_header X-Forwarded-Proto $scheme;",
        )
    elif seen.scheme != parts.scheme:
        yield bad(
            f"The site sees {seen.scheme} where browsers use {parts.scheme}: it does not trust the proxy {seen.peer}.",
            f"CLOUDTRAIN_TRUSTED_PROXIES={seen.peer}",
        )
    if seen.host.partition(":")[0] != parts.hostname:
        yield bad(
            f"The site sees the host {seen.host} where browsers use {parts.netloc}: forms are refused.",
            "proxy_set_header Host $http_host;",
        )


def client() -> Iterator[Finding]:
    """Check that the site sees the client's address and not its proxy's: by that it slows guessing down."""
    token = new_token()
    with visit() as connection:
        connection.connect()
        own, own_port = connection.sock.getsockname()[:2]
        seen = seen_in(connection.ask(LIVE, token).headers.get(ANSWER_HEADER), token)
    yield skipped("The site did not report what it sees.") if seen is None else of_client(seen, (own, own_port))


def of_client(seen: Seen, own: tuple[str, int]) -> Finding:
    """Return what it means that the site sees our connection, from the address and port `own`, so."""
    if (seen.peer, seen.peer_port) == own:
        return ok("There is no proxy in between.")
    if not seen.forwarded_for:
        return bad(
            f"All requests seem to come from {seen.peer}: the proxy there doesn't pass on clients' addresses.",
            "proxy_set_header X-Forwarded-For $remote_addr;",
        )
    if seen.client == seen.peer and seen.peer not in (*LOOPBACK, own[0]):
        return bad(
            f"All requests seem to come from {seen.peer}: the proxy there is not trusted.",
            f"CLOUDTRAIN_TRUSTED_PROXIES={seen.peer}",
        )
    return ok(f"This command comes from {seen.client}.")


def event_stream() -> Iterator[Finding]:
    """Check that a stream's first bytes and an event of this process pass the proxy within two seconds.

    The event is stored with the others, in a channel that no person reads.
    """
    with visit() as connection:
        try:
            answer = connection.ask(EVENTS, new_token())
            if answer.status != http.client.OK:
                yield bad(f"The proxy or the site answers {answer.status} to {EVENTS}.", "Check the proxy's log.")
                return
            if not _arrives(answer, "stream-open"):
                yield _held_up("The event stream")
                return
        except OSError:  # a time-out is one
            yield _held_up("The start of a stream")
            return
        started = time.monotonic()
        publish(Event(EVENT, DOCTORS_CHANNEL))
        if _arrives(answer, f'"{EVENT}"'):
            yield ok(f"An event took {time.monotonic() - started:.2f} s.")
        else:
            yield bad(
                "An event of this process did not arrive: the web process reads another database, or its reader hangs.",
                "systemctl restart cloudtrain",
            )


def _arrives(answer: http.client.HTTPResponse, text: str) -> bool:
    """Whether a line with `text` comes soon. What comes meanwhile is passed over."""
    until = time.monotonic() + STEP_SECONDS
    try:
        while time.monotonic() < until:
            line = answer.readline()
            if text in line.decode(errors="replace"):
                return True
            if not line:
                return False
    except OSError:
        pass
    return False


def _held_up(what: str) -> Finding:
    return bad(
        f"{what} does not arrive within {STEP_SECONDS:g} s: the proxy holds it back, so pages don't update.",
        "proxy_buffering off; proxy_read_timeout 75s; in the proxy's location /api/events",
    )


def uploads() -> Iterator[Finding]:
    """Check that the proxy lets the largest bodies pass that the site takes: by their heads, no body is sent."""
    limits = {SUBMISSIONS: DEFAULT_MAX_BYTES}
    limits |= {path: limit.max_bytes for path, limit in extensions.request_limits.items()}
    for path, size in limits.items():
        try:
            with visit() as connection:
                status = connection.first_line_for(path, size).split(b" ")[1:2]
        except OSError:
            yield skipped("The proxy answers only once it has the whole body.")
            continue
        if status == [b"413"]:
            yield bad(
                f"The proxy refuses a body of {size:,} bytes for {path}, which the site accepts.",
                f"client_max_body_size {ceil(size / 2**20)}m; in the proxy's location {path}",
            )
        elif status in ([b"411"], [b"417"]):
            yield skipped("The proxy does not support `Expect`.")
        else:
            yield ok(f"{path} accepts {size:,} bytes.")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", "") or str(error) or type(error).__name__).rstrip(".")
