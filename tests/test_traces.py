"""Traces by OpenTelemetry, sent to a collector on the loopback address and read back as the protocol has them."""
# ruff: noqa: F401, F811 - fixtures are imported, and then named again by the tests that want them

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django_q import signals as task_signals
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cloudtrain_site.checks import check_tracing
from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.doctor import traces
from cloudtrain_site.models import ApiKey
from cloudtrain_site.tracing import exporting, spans
from examples.fake_replicate import FakeReplicate
from jobs.models import Job
from jobs.statuses import JobStatus
from queueing import dispatch
from tests.cloudtrain_site.conftest import Lines, log_file, log_lines
from tests.jobs.conftest import fake, replicate_config
from tests.jobs.webhooks.conftest import secret
from tests.jobs.webhooks.deliveries import body_of, sign
from tests.wait import wait_until
from tests.web import running_server

WEBHOOK = "http://127.0.0.1:9/hooks/T0SECRETPATH"
IN_BROWSER = "?token=QUERYSECRET"


class Collector(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Any]:
        batches = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [
            span
            for batch in batches
            for of_process in batch.resource_spans
            for of_library in of_process.scope_spans
            for span in of_library.spans
        ]

    def of_trace(self, correlation_id: str) -> dict[str, Any]:
        trace_id = exporting.trace_id_of(correlation_id).to_bytes(16)
        return {span.name: span for span in self.spans() if span.trace_id == trace_id}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.server.bodies.append(gzip.decompress(body) if is_packed else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def trace_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Begin to trace to an address, as a process does that starts with it."""
    monkeypatch.setenv(exporting.DELAY_VARIABLE, "50")
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # as the fixture web_server does

    def begin(url: str) -> None:
        monkeypatch.setenv(spans.ENDPOINT, url)
        spans.is_on.cache_clear()
        exporting._provider.cache_clear()

    yield begin
    spans.send_last()
    spans.is_on.cache_clear()
    exporting._provider.cache_clear()


def attributes_of(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def submit(http: httpx.Client, correlation_id: str) -> str:
    body = {"config": {"--max_train_steps": 10}, "config_name": "toys", "webhook_url": WEBHOOK}
    headers = {"X-Correlation-ID": correlation_id}
    answer = http.post("/api/cloud/jobs/submit?provider=replicate", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


def a_task() -> None:
    """Do nothing."""


@pytest.mark.slow
@pytest.mark.usefixtures("replicate_config")
def test_a_job_is_one_trace_from_its_submission_to_its_end_without_a_secret(
    transactional_db: None, bob: User, fake: FakeReplicate, secret: str, collector: Collector, trace_to: Any
) -> None:
    trace_to(collector.url)
    key = ApiKey.objects.create(user=bob, name="traces")[1]
    with running_server() as url, httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        job = Job.objects.get(pk=submit(http, "of-the-job"))
        with correlation("of-the-pass"):
            task = {"id": "1", "func": f"{__name__}.a_task", "correlation_id": "of-the-pass", "success": True}
            task_signals.pre_execute.send("django_q", func=a_task, task=task)
            assert dispatch.run_pass() == 1
            task_signals.post_execute_in_worker.send("django_q", func=a_task, task=task)
        job.refresh_from_db()
        delivery = body_of(job)
        assert http.post("/api/webhooks/replicate", content=delivery, headers=sign(delivery, secret)).is_success
        http.get(f"/api/cloud/jobs/{job.pk}{IN_BROWSER}")
        http.get("/account/email/QUERYSECRET")
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING
    spans.send_last()

    of_job, of_pass = collector.of_trace("of-the-job"), collector.of_trace("of-the-pass")
    assert {attributes_of(span)["correlation_id"] for span in of_job.values()} == {"of-the-job"}
    request, call = of_job["POST /api/cloud/jobs/submit"], of_job["submit to provider"]
    assert attributes_of(request) == attributes_of(request) | {"http.response.status_code": 201}
    assert attributes_of(call) == attributes_of(call) | {"provider": "replicate", "job_id": job.pk}
    assert of_job["POST 127.0.0.1"].parent_span_id == call.span_id
    assert {"job queued", "job running"} <= of_job.keys()
    (link,) = call.links
    assert link.span_id == of_pass[f"{__name__}.a_task"].span_id
    assert "POST /api/webhooks/<provider>" in {span.name for span in collector.spans()}
    sent = b"".join(collector.bodies)
    for text in ("QUERYSECRET", "T0SECRETPATH", key, fake.token, fake.webhook_secret):
        assert text.encode() not in sent


@pytest.mark.slow
@pytest.mark.usefixtures("replicate_config")
def test_a_collector_that_is_away_costs_one_line_of_the_log(
    transactional_db: None, bob: User, fake: FakeReplicate, trace_to: Any, log_lines: Lines
) -> None:
    trace_to("http://127.0.0.1:9")
    key = ApiKey.objects.create(user=bob, name="traces")[1]
    with running_server() as url, httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        submit(http, "away")
        assert dispatch.run_pass() == 1
        for _ in range(3):
            assert http.get("/api/cloud/jobs").is_success
    exporter = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    wait_until(lambda: any(line["logger"] == exporter for line in log_lines()))
    spans.send_last()

    lines = [line for line in log_lines() if line["logger"].startswith("opentelemetry")]
    assert [line["level"] for line in lines] == ["WARNING"]
    assert not [line for line in log_lines() if line["level"] == "ERROR"]
    assert [finding.status for finding in traces.arrive()] == ["warn"]


def test_the_doctor_finds_a_collector_that_takes_traces(collector: Collector, trace_to: Any) -> None:
    trace_to(collector.url)
    assert [finding.status for finding in traces.arrive()] == ["ok"]


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({spans.ENDPOINT: "collector:4318"}, "must be http://"),
        ({spans.ENDPOINT: "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf only"),
        ({spans.ENDPOINT: "http://x:4318", "OTEL_SDK_DISABLED": "true"}, ""),
        ({}, ""),
    ],
)
def test_an_endpoint_that_can_not_be_used_is_reported_and_nothing_is_traced(
    environment: dict[str, str], problem: str, trace_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_to("")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    spans.is_on.cache_clear()
    assert [problem in message.msg for message in check_tracing()] == ([True] if problem else [])
    assert not spans.is_on()
    assert [finding.status for finding in traces.arrive()] == ["skipped"]


def test_without_the_library_the_site_says_what_to_install(trace_to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "find_spec", lambda name: None)
    trace_to("http://127.0.0.1:4318")
    (message,) = check_tracing()
    assert (message.hint, spans.is_on()) == (spans.INSTALL, False)
    with spans.span("nothing"):
        spans.note({}, name="nothing")
    call_command("check")
