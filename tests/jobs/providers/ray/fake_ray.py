"""The HTTP API of a Ray dashboard, replayed as Ray 2.60 was seen to answer, and its failures on request."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "5" * 64
NODE = "758f9a09"
TRACEBACK = 'Traceback (most recent call last):\n  File "/ray/job_head.py", line 1, in submit_job\n{reason}\n'
PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def as_text(text: str, status: int) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8")


def as_page(status: int, text: str = PROXY_PAGE) -> Answer:
    return Answer(status, text.encode(), "text/html")


#: In place of an answer: the connection ends without one.
CUT = Answer(0)


@dataclass
class FakeRay:
    """`instead` answers a request in place of Ray; `after` does too, once Ray has obeyed it."""

    token: str = TOKEN
    session: str = "session_1"
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    instead: Callable[[str, str], Answer | None] = lambda method, path: None
    after: Callable[[str, str], Answer | None] = lambda method, path: None
    nodes: list[dict[str, Any]] = field(default_factory=list)
    grows: bool = False
    used_gpus: float = 0.0

    def __post_init__(self) -> None:
        if not self.nodes:
            self.nodes = [node(NODE, CPU=8.0, GPU=2.0, memory=64e9)]
        handler = type("Handler", (_Handler,), {"ray": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def end(self, job: str, status: str = "SUCCEEDED", **fields: Any) -> None:
        self.jobs[job] |= {"status": status, "end_time": int(time.time() * 1000), **fields}

    def run(self, job: str, log: bytes = b"") -> None:
        self.jobs[job] |= {"status": "RUNNING", "driver_node_id": NODE}
        self.logs[job] = log

    def answer(self, method: str, path: str, body: bytes, token: str) -> Answer:
        self.requests.append((method, path))
        parts = urlsplit(path)
        if early := self.instead(method, parts.path):
            return early
        if self.token and token != f"Bearer {self.token}":
            if not token:
                return as_text("Unauthorized: Missing authentication token", 401)
            return as_text("Forbidden: Invalid authentication token", 403)
        answer = self._obey(method, parts.path, parse_qs(parts.query), body)
        return self.after(method, parts.path) or answer

    def _obey(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Answer:
        if path == "/api/version":
            return as_json({"version": "4", "ray_version": "2.60.0", "session_name": self.session})
        if path == "/api/v0/nodes":
            return as_json({"result": True, "data": {"result": {"total": len(self.nodes), "result": self.nodes}}})
        if path == "/api/cluster_status":
            return as_json({"result": True, "data": {"clusterStatus": self._status()}})
        if path == "/api/v0/logs/file":
            return self._log(query)
        if match := re.fullmatch(r"/api/packages/gcs/(.+)", path):
            self.packages[match[1]] = body
            return Answer()
        if path == "/api/jobs/":
            return self._submit(json.loads(body)) if method == "POST" else as_json(list(self.jobs.values()))
        if match := re.fullmatch(r"/api/jobs/([^/]+)(/stop)?", path):
            return self._job(method, match[1], is_stop=bool(match[2]))
        return as_text("404: Not Found", 404)

    def _status(self) -> dict[str, Any]:
        kinds = {one["node_id"]: "gpu-group" if self.grows else f"node_{one['node_id']}" for one in self.nodes}
        usage = {one["node_id"]: {"GPU": [self.used_gpus, 2.0]} for one in self.nodes}
        return {"autoscalerReport": {"nodeTypeMapping": kinds}, "loadMetricsReport": {"usageByNode": usage}}

    def _log(self, query: dict[str, list[str]]) -> Answer:
        job = query["filename"][0].removeprefix("job-driver-").removesuffix(".log")
        if job not in self.logs or query["node_id"] != [NODE]:
            return as_text(TRACEBACK.format(reason="aiohttp.ClientConnectorError: Cannot connect to host"), 500)
        lines, data = int(query["lines"][0]), self.logs[job]
        if lines >= 0:
            data = b"".join(data.splitlines(keepends=True)[-lines:] if b"\r" not in data else _tail(data, lines))
        return Answer(200, data, "text/plain")

    def _submit(self, body: dict[str, Any]) -> Answer:
        job = body["submission_id"]
        if job in self.jobs:
            return as_text(TRACEBACK.format(reason=f"ValueError: Job with submission_id {job} already exists"), 500)
        self.bodies.append(body)
        self.jobs[job] = {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": job,
            "status": "PENDING",
            "entrypoint": body["entrypoint"],
            "message": "Job has not started yet.",
            "error_type": None,
            "start_time": int(time.time() * 1000),
            "end_time": None,
            "metadata": body.get("metadata"),
            "runtime_env": body.get("runtime_env"),
            "driver_node_id": None,
            "driver_exit_code": None,
        }
        return as_json({"job_id": job, "submission_id": job})

    def _job(self, method: str, job: str, *, is_stop: bool) -> Answer:
        row = self.jobs.get(job)
        if row is None:
            return as_text(f"Job {job} does not exist", 404)
        if is_stop:
            is_active = row["status"] in ("PENDING", "RUNNING")
            if row["status"] == "RUNNING":
                self.end(job, "STOPPED", message="Job was intentionally stopped.")
            return as_json({"stopped": is_active})
        if method == "DELETE":
            if row["status"] in ("PENDING", "RUNNING"):
                return as_text(TRACEBACK.format(reason="RuntimeError: it has not ended"), 500)
            del self.jobs[job]
            return as_json({"deleted": True})
        return as_json(row)


def _tail(data: bytes, lines: int) -> list[bytes]:
    pieces = data.split(b"\n")
    ends = [piece + b"\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
    return ends[-lines:]


def node(name: str, **resources: float) -> dict[str, Any]:
    return {
        "node_id": name,
        "node_ip": f"10.0.0.{name[:1]}",
        "state": "ALIVE",
        "resources_total": {**resources, f"node:{name}": 1.0},
    }


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of clients that did not wait."""


class _Handler(BaseHTTPRequestHandler):
    ray: FakeRay
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = self.ray.answer(self.command, self.path, body, self.headers.get("authorization", ""))
        if answer is CUT:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(answer.status)
        self.send_header("content-type", answer.kind)
        self.send_header("content-length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
