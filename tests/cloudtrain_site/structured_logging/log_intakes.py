"""The four HTTP intakes that docs/log-shipping.md ships to; each checks what its vendor's documentation demands."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

Line = dict[str, Any]
KEY = "a-key-of-the-test"


class Arrived(NamedTuple):
    """One line as the receiver would store it: the time that the intake was told, the line, what stands beside."""

    milliseconds: int
    line: Line
    labels: Line


class RefusedError(Exception):
    """The request is none that the intake takes."""


def require(held: bool, otherwise: str) -> None:
    if not held:
        raise RefusedError(otherwise)


def loki(body: str) -> Iterator[Arrived]:
    """Grafana Labs, "Loki HTTP API", "Ingest logs": `streams` of labels and of `[nanoseconds, line]`, both strings.

    A line has at most 256 kB by default ("Grafana Loki configuration parameters", `max_line_size`).
    """
    push = json.loads(body)
    require(list(push) == ["streams"], "streams alone")
    for stream in push["streams"]:
        require(set(stream) == {"stream", "values"}, "a stream and its values")
        labels = stream["stream"]
        require(all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) and value for name, value in labels.items()), "labels")
        for nanoseconds, line in stream["values"]:
            require(bool(re.fullmatch(r"\d{19}", nanoseconds)), "nanoseconds, as a string")
            require(len(line) <= 262_144, "max_line_size")
            yield Arrived(_whole(int(nanoseconds), 1_000_000), json.loads(line), labels)


def elasticsearch(body: str) -> Iterator[Arrived]:
    """Elastic, "Bulk API" and "Data streams": an action, a document, the last line ended too; nothing but `create`."""
    require(body.endswith("\n"), "the last line must end with a newline")
    lines = [json.loads(line) for line in body.splitlines()]
    require(len(lines) % 2 == 0, "an action for each document")
    for action, document in zip(lines[::2], lines[1::2], strict=True):
        require(action == {"create": {}}, "a data stream takes create only")
        stamp = document.pop("@timestamp")
        yield Arrived(round(datetime.fromisoformat(stamp).timestamp() * 1000), document, {})


def splunk(body: str) -> Iterator[Arrived]:
    """Splunk, "Format events for HTTP Event Collector": object after object, `time` in seconds with milliseconds."""
    decoder, rest = json.JSONDecoder(parse_float=str), body.strip()
    while rest:
        event, end = decoder.raw_decode(rest)
        known = {"time", "host", "source", "sourcetype", "index", "fields", "event"}
        require(set(event) <= known, "a key that is no metadata")
        require(bool(re.fullmatch(r"\d{10}\.\d{3}", event["time"])), "seconds.milliseconds")
        require(bool(event["event"]), "Event field cannot be blank")
        line = json.loads(rest[:end])["event"]
        require(bool(event["host"] and event["source"]), "where it comes from")
        yield Arrived(int(event["time"].replace(".", "")), line, {"sourcetype": event["sourcetype"]})
        rest = rest[end:].strip()


def datadog(body: str) -> Iterator[Arrived]:
    """Datadog, "Send logs": an array of at most 1000 entries and 5 MB, no entry over 1 MB.

    Its time is what it says under `timestamp` ("Pipelines", "Date attribute"): ISO 8601 is one of the forms.
    """
    entries = json.loads(body)
    require(isinstance(entries, list) and 0 < len(entries) <= 1000, "at most 1000 entries")
    require(len(body) <= 5_000_000, "at most 5 MB")
    for entry in entries:
        require(bool(entry.pop("hostname")), "a host")
        labels = {name: entry.pop(name) for name in ("ddsource", "service")}
        require(isinstance(entry["message"], str) and len(json.dumps(entry)) <= 1_000_000, "a message, at most 1 MB")
        yield Arrived(round(datetime.fromisoformat(entry["timestamp"]).timestamp() * 1000), entry, labels)


def _whole(number: int, unit: int) -> int:
    require(number % unit == 0, "a time that no line of ours can have")
    return number // unit


@dataclass(frozen=True)
class Intake:
    """What a request must look like, and what is answered to one that is taken."""

    name: str
    path: str
    content_type: str
    key: tuple[str, str]
    answer: tuple[int, str]
    read: Callable[[str], Iterator[Arrived]]
    #: What a line is to have beside itself.
    labels: Callable[[Line], Line]


INTAKES = [
    Intake(
        "Loki",
        "/loki/api/v1/push",
        "application/json",
        ("Authorization", KEY),
        (204, ""),
        loki,
        lambda line: {"job": "simpletuner", "level": line["level"]},
    ),
    Intake(
        "Elasticsearch",
        "/logs-simpletuner-default/_bulk",
        "application/x-ndjson",
        ("Authorization", f"ApiKey {KEY}"),
        (200, '{"took": 1, "errors": false, "items": []}'),
        elasticsearch,
        lambda _: {},
    ),
    Intake(
        "Splunk",
        "/services/collector/event",
        "application/json",
        ("Authorization", f"Splunk {KEY}"),
        (200, '{"text": "Success", "code": 0}'),
        splunk,
        lambda _: {"sourcetype": "simpletuner"},
    ),
    Intake(
        "Datadog",
        "/api/v2/logs",
        "application/json",
        ("DD-API-KEY", KEY),
        (202, "{}"),
        datadog,
        lambda _: {"ddsource": "python", "service": "simpletuner"},
    ),
]


@dataclass
class Receiver:
    """One of them on the loopback address, with whatever came to it."""

    intake: Intake
    port: int
    arrived: list[Arrived] = field(default_factory=list)
    #: Why requests were refused, which the shipper is not to give any reason for.
    refused: list[str] = field(default_factory=list)
    #: Answered instead, while it is set, and how often that was.
    trouble: int | None = None
    troubled: int = 0
    _server: ThreadingHTTPServer | None = None

    def open(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status, text = receiver.take(self)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def shut(self) -> None:
        """Nobody listens from here on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, request: BaseHTTPRequestHandler) -> tuple[int, str]:
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        if self.trouble is not None:
            self.troubled += 1
            return self.trouble, ""
        try:
            self._check(request)
            taken = list(self.intake.read(body))
        except (RefusedError, ValueError, KeyError, TypeError) as error:
            self.refused.append(f"{error!r}: {body[:500]}")
            return 400, "{}"
        self.arrived.extend(taken)
        return self.intake.answer

    def _check(self, request: BaseHTTPRequestHandler) -> None:
        require(request.path == self.intake.path, request.path)
        require(request.headers["Content-Type"] == self.intake.content_type, str(request.headers["Content-Type"]))
        header, value = self.intake.key
        require(request.headers[header] == value, f"not the key: {request.headers[header]}")
        require(request.headers["Content-Encoding"] is None, "the length is that of plain text")
