"""Results are copied from a provider before it deletes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from cloudtrain_site.states import Source
from jobs import lifecycle, tasks
from jobs.lifecycle import apply_final_details
from jobs.models import Job, OutputFetch
from jobs.outputs import download, fetching
from jobs.outputs.store import absence_of, fetched_root, folder_of, listing_of
from jobs.providers.base import Snapshot
from jobs.providers.replicate.access import Access
from jobs.statuses import JobStatus

pytestmark = pytest.mark.slow


@dataclass
class FileHost:
    """A server of files by path. It counts the ranges that it is asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    status: int = 0
    #: Bytes after which the connection is cut, once.
    cut_after: int = 0
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        data = self.files.get(request.path)
        if self.status or data is None:
            request.send_response(self.status or 404)
            request.send_header("Location", "/elsewhere")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        if start >= len(data):
            request.send_error(416)
            return
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        cut, self.cut_after = self.cut_after, 0
        request.wfile.write(data[start : start + cut] if cut else data[start:])
        request.close_connection = True


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileHost]:
    files = FileHost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        files.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("REPLICATE_BASE_URL", files.url)
        yield files
        server.shutdown()


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs for which a task was enqueued."""
    requested: list[str] = []
    monkeypatch.setattr(fetching, "async_task", lambda task, job_id: requested.append(job_id))
    return requested


@pytest.fixture
def completed(make_job: Callable[..., Job], settings: Any, tmp_path: Path, requested: list[str]) -> Callable[..., Job]:
    settings.DATA_DIR = tmp_path

    def make(*outputs: str, **fields: Any) -> Job:
        return make_job(
            **{
                "provider": "replicate",
                "external_id": "p1",
                "status": JobStatus.COMPLETED,
                "completed_at": timezone.now(),
                "output_url": outputs[0] if outputs else "",
                "metadata": {"more_outputs": list(outputs[1:])},
                **fields,
            }
        )

    return make


def fetch_of(job: Job) -> OutputFetch:
    return OutputFetch.objects.get(pk=job.pk)


def make_due(job: Job) -> None:
    OutputFetch.objects.filter(pk=job.pk).update(next_attempt_at=timezone.now(), lease_until=None)


def contents(job: Job) -> dict[str, bytes]:
    folder = folder_of(job)
    return {file.path: (fetched_root(job) / file.path).read_bytes() for file in folder.files()} if folder else {}


def test_the_results_of_a_completed_training_are_copied(host: FileHost, completed: Any) -> None:
    host.files = {"/a/weights.tar": b"w" * 3_000_000, "/b/weights.tar": b"other", "/a/%C3%A9.png": b"p"}
    job = completed(f"{host.url}/a/weights.tar", f"{host.url}/b/weights.tar", f"{host.url}/a/%C3%A9.png?x=1")
    host.files["/a/%C3%A9.png?x=1"] = b"p"
    assert fetching.request_fetch(job)
    assert listing_of(job).complete is False
    assert absence_of(job).startswith("The results are being fetched from the provider: 0 of 3 so far")
    assert tasks.fetch_outputs(job.pk)
    assert contents(job) == {"weights.tar": b"w" * 3_000_000, "2-weights.tar": b"other", "é.png": b"p"}
    fetch = fetch_of(job)
    assert (fetch.status, fetch.bytes_fetched, fetch.lease_until) == ("complete", 3_000_006, None)
    assert listing_of(job).complete is True
    assert absence_of(job) == ""


def test_what_was_copied_is_found_here_and_not_at_a_dead_address(host: FileHost, completed: Any) -> None:
    host.files = {"/weights.tar": b"w"}
    address = f"{host.url}/weights.tar"
    job = completed(address)
    fetching.request_fetch(job)
    assert job.result_address == address
    tasks.fetch_outputs(job.pk)
    job.refresh_from_db()
    assert job.result_address.endswith(f"/jobs/{job.pk}/results")
    apply_final_details(job, Snapshot("p1", status=JobStatus.COMPLETED, output_url=address))
    job.refresh_from_db()
    assert job.result_address.endswith(f"/jobs/{job.pk}/results")


def test_a_text_is_kept_as_a_file(host: FileHost, completed: Any) -> None:
    job = completed("Training complete.")
    fetching.request_fetch(job)
    tasks.fetch_outputs(job.pk)
    assert contents(job) == {"output.txt": b"Training complete."}


def test_the_end_of_a_training_has_them_copied(
    host: FileHost, completed: Any, requested: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    job = completed(status=JobStatus.RUNNING, completed_at=None, started_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        snapshot = Snapshot("p1", JobStatus.COMPLETED, output_url=f"{host.url}/w", completed_at=timezone.now())
        lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)
    assert requested == [job.pk]
    assert fetch_of(job).sources == [f"{host.url}/w"]


def test_a_copy_that_was_cut_goes_on_where_it_stopped(host: FileHost, completed: Any) -> None:
    host.files, host.cut_after = {"/w": b"abcdefgh"}, 3
    job = completed(f"{host.url}/w")
    fetching.request_fetch(job)
    assert not tasks.fetch_outputs(job.pk)
    fetch = fetch_of(job)
    assert (fetch.status, fetch.failures) == ("pending", 1)
    assert fetch.next_attempt_at > timezone.now()
    assert not tasks.fetch_outputs(job.pk), "it is not due"
    make_due(job)
    assert tasks.fetch_outputs(job.pk)
    assert host.ranges == [None, "bytes=3-"]
    assert contents(job) == {"w": b"abcdefgh"}
    assert fetch_of(job).bytes_fetched == 8


def test_a_long_copy_takes_several_tasks(
    host: FileHost, completed: Any, requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.files = {"/w": b"x" * 2_500_000}
    job = completed(f"{host.url}/w")
    fetching.request_fetch(job)
    requested.clear()
    monkeypatch.setattr(download, "TASK_SECONDS", -1.0)
    assert not tasks.fetch_outputs(job.pk)
    assert requested == [job.pk]
    assert contents(job) == {}, "a file that is not whole is not listed"
    monkeypatch.undo()
    monkeypatch.setenv("REPLICATE_BASE_URL", host.url)
    monkeypatch.setattr(fetching, "async_task", lambda *arguments: None)
    while not tasks.fetch_outputs(job.pk):
        pass
    assert contents(job) == {"w": b"x" * 2_500_000}
    assert host.ranges[1] is not None


def test_two_workers_copy_once(host: FileHost, completed: Any) -> None:
    host.files = {"/w": b"x"}
    job = completed(f"{host.url}/w")
    fetching.request_fetch(job)
    OutputFetch.objects.update(lease_until=timezone.now() + timedelta(seconds=10))
    assert not tasks.fetch_outputs(job.pk)
    assert host.ranges == []
    OutputFetch.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert tasks.fetch_outputs(job.pk), "the other worker died"
    assert not tasks.fetch_outputs(job.pk)
    assert len(host.ranges) == 1


@pytest.mark.parametrize(
    ("status", "problem"),
    [(404, "The provider has deleted the results."), (302, "The provider answered 302 for the results.")],
)
def test_what_is_gone_is_not_asked_for_again(host: FileHost, completed: Any, status: int, problem: str) -> None:
    host.status = status
    job = completed(f"{host.url}/w")
    fetching.request_fetch(job)
    tasks.fetch_outputs(job.pk)
    assert (fetch_of(job).status, fetch_of(job).problem) == ("failed", problem)
    assert absence_of(job) == problem
    assert listing_of(job).complete is True


def test_a_provider_that_is_away_is_asked_again_for_an_hour(host: FileHost, completed: Any) -> None:
    host.status = 503
    job = completed(f"{host.url}/w")
    fetching.request_fetch(job)
    for _ in fetching.RETRY_PAUSES:
        tasks.fetch_outputs(job.pk)
        assert fetch_of(job).status == "pending"
        make_due(job)
    tasks.fetch_outputs(job.pk)
    assert fetch_of(job).status == "failed"
    assert sum(fetching.RETRY_PAUSES, timedelta()) > timedelta(minutes=50)


def test_results_that_are_too_large_are_left(
    host: FileHost, completed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "enterprise.yaml"
    path.write_text("outputs:\n  fetch_limit_mb: 1\n")
    monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", str(path))
    host.files = {"/w": b"x" * 1_000_001}
    job = completed(f"{host.url}/w")
    fetching.request_fetch(job)
    tasks.fetch_outputs(job.pk)
    assert fetch_of(job).problem == "The results are larger than 1 MB, the limit of this site."
    assert contents(job) == {}


def test_no_address_leads_into_our_own_network(host: FileHost, completed: Any) -> None:
    for address in (
        "http://127.0.0.1:1/w",
        "http://169.254.169.254/latest",
        "https://replicate.delivery.evil.example/w",
    ):
        job = completed(address, external_id=address[-20:])
        fetching.request_fetch(job)
        tasks.fetch_outputs(job.pk)
        assert fetch_of(job).status == "failed"
        assert "not on a host of Replicate" in fetch_of(job).problem
    assert host.ranges == []


@pytest.mark.parametrize(
    ("address", "serves"),
    [
        ("https://replicate.delivery/a/w.tar", True),
        ("https://eu.replicate.delivery/a/w.tar", True),
        ("http://replicate.delivery/a/w.tar", False),
        ("https://xreplicate.delivery/a", False),
        ("https://replicate.delivery:8443/a", False),
        ("https://user@api.example.org:8443/a", True),
        ("https://api.example.org/a", False),
        ("https://[::1", False),
        ("ftp://replicate.delivery/a", False),
    ],
)
def test_a_provider_knows_its_hosts(address: str, serves: bool) -> None:
    assert Access("https://api.example.org:8443", "token").serves(address) is serves


def test_what_a_crash_kept_from_being_copied_is_found(host: FileHost, completed: Any, requested: list[str]) -> None:
    host.files = {"/w": b"x"}
    forgotten = completed(f"{host.url}/w")
    completed(f"{host.url}/w", external_id="p2", completed_at=timezone.now() - timedelta(hours=3))
    completed(external_id="p3")
    assert fetching.request_forgotten() == 2  # a row, and the task for it
    assert set(requested) == {forgotten.pk}
    tasks.fetch_outputs(forgotten.pk)
    assert fetching.request_forgotten() == 0


@pytest.mark.parametrize("fields", [{"status": JobStatus.FAILED}, {"provider": "local"}])
def test_nothing_is_copied_of_others(host: FileHost, completed: Any, fields: Any) -> None:
    assert not fetching.request_fetch(completed(f"{host.url}/w", **fields))


def test_nothing_is_copied_where_there_is_nothing(completed: Any) -> None:
    assert not fetching.request_fetch(completed())


def test_an_operator_may_switch_it_off(
    host: FileHost, completed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "enterprise.yaml"
    path.write_text("outputs:\n  fetch: false\n")
    monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", str(path))
    assert not fetching.request_fetch(completed(f"{host.url}/w"))


def test_an_address_that_is_none_is_not_tried_again(host: FileHost, completed: Any) -> None:
    job = completed(f"{host.url}/w\x01")
    fetching.request_fetch(job)
    tasks.fetch_outputs(job.pk)
    assert fetch_of(job).problem == "The provider gave an invalid address for the results."
    assert fetch_of(job).status == "failed"


def test_a_long_name_of_wide_letters_fits(host: FileHost, completed: Any) -> None:
    host.files = {f"/{'%F0%9F%8E%A8' * 150}.png": b"p"}
    job = completed(f"{host.url}/{'%F0%9F%8E%A8' * 150}.png")
    fetching.request_fetch(job)
    assert tasks.fetch_outputs(job.pk)
    assert list(contents(job).values()) == [b"p"]
