"""A request that names no host, asked of a real server, byte by byte."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.slow
LIVE = "/api/cloud/health/live"


def answer_to(site: str, *lines: str) -> tuple[str, str]:
    """The status line and the rest of the answer."""
    with socket.create_connection((urlsplit(site).hostname, urlsplit(site).port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        received = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    status, _, rest = received.partition("\r\n")
    return status, rest


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", f"GET {LIVE} HTTP/1.1", "GET /api/events HTTP/1.0"])
def test_it_is_refused(web_server: str, line: str) -> None:
    status, rest = answer_to(web_server, line)
    assert " 400 " in status
    assert json.loads(rest.partition("\r\n\r\n")[2])["detail"] == "The request has no Host header."
    assert "x-correlation-id" in rest.lower()


def test_an_empty_name_is_none(web_server: str) -> None:
    assert " 400 " in answer_to(web_server, "GET / HTTP/1.1", "Host:")[0]


def test_so_is_a_delivery(web_server: str) -> None:
    assert " 400 " in answer_to(web_server, "POST /api/webhooks/replicate HTTP/1.1", "Content-Length: 0")[0]


@pytest.mark.parametrize("lines", [("GET / HTTP/1.1", "Host: localhost"), (f"GET {LIVE} HTTP/1.0",)])
def test_one_with_a_host_is_answered_and_so_is_a_load_balancers_probe(web_server: str, lines: tuple[str, ...]) -> None:
    assert " 400 " not in answer_to(web_server, *lines)[0]
