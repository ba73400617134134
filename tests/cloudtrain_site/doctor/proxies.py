"""A proxy with TLS before the tests' web server, as well set up as the test says."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Manners:
    """How the proxy behaves; the defaults are those of docs/deploying.md."""

    upstream: str
    tells_scheme: bool = True
    tells_client: bool = True
    host: str = ""
    max_bytes: int = 200_000_000
    keeps_streams_back: bool = False
    #: What it answers by itself, and where it leads.
    answers: int = 0
    leads_to: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    manners: Manners

    def do_GET(self) -> None:
        if self.manners.answers:
            self._end(self.manners.answers, {"Location": self.manners.leads_to} if self.manners.leads_to else {})
            return
        headers = {name: value for name, value in self.headers.items() if not name.startswith("X-Forwarded")}
        headers["Host"] = self.manners.host or headers["Host"]
        if self.manners.tells_scheme:
            headers["X-Forwarded-Proto"] = "https"
        if self.manners.tells_client:
            headers["X-Forwarded-For"] = self.client_address[0]
        upstream = http.client.HTTPConnection(urlsplit(self.manners.upstream).netloc, timeout=30)
        # The doctor leaves a stream.
        with closing(upstream), suppress(OSError):
            upstream.request("GET", self.path, headers=headers)
            answer = upstream.getresponse()
            passed = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
            if not self.manners.keeps_streams_back:
                self._head(answer.status, passed)
            while part := answer.read1():
                if not self.manners.keeps_streams_back:
                    self.wfile.write(part)

    def handle_expect_100(self) -> bool:
        if int(self.headers["Content-Length"]) > self.manners.max_bytes:
            self._end(413, {})
            return False
        return super().handle_expect_100()

    def do_POST(self) -> None:
        self.close_connection = True

    def _end(self, status: int, headers: dict[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": "0"})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


def make_certificate(folder: Path, days: int = 365) -> Path:
    """Return a file with a key and a certificate of 127.0.0.1."""
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    own = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", str(days)]
    pem = folder / f"{days}.pem"
    subprocess.run([*request, *own, "-keyout", pem, "-out", folder / "cert"], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (folder / "cert").read_text())
    return pem


@contextmanager
def proxy_before(manners: Manners, certificate: Path) -> Iterator[str]:
    """Serve from threads until the block ends; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"manners": manners}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
