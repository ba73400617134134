"""A database that can't be written to, or is away, is answered for with 507 or 503 and a sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client

from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.database import failures
from cloudtrain_site.database.write_probe import forget_last_probe
from cloudtrain_site.serving.asgi_types import Message
from cloudtrain_site.serving.body_limit import BodyLimit
from jobs.datasets import upload_handler
from jobs.models import Job, TrainingConfig
from queueing.limits import queue_state
from tests.dataset_archives import make_zip

READY = "/api/cloud/health/ready"
SUBMIT = "/api/cloud/jobs/submit?provider=local"
BODY = {"config": {"max_train_steps": 5}}


@pytest.fixture
def as_alice(alice: User, probed_anew: None) -> Client:
    queue_state()  # made by a migration, and emptied with the test database
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    return client


@pytest.fixture
def probed_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process remembers of its database's failures is the test's own."""
    monkeypatch.setattr(failures, "_met_at", {})
    monkeypatch.setattr(failures, "_logged_at", {})
    forget_last_probe()
    yield
    forget_last_probe()


@pytest.fixture
def read_only(as_alice: Client) -> Iterator[None]:
    """From here on the database refuses every write, as on a read-only disk or a standby."""
    no, yes = "PRAGMA query_only = 1", "PRAGMA query_only = 0"
    if connection.vendor == "postgresql":
        no, yes = (f"SET SESSION CHARACTERISTICS AS TRANSACTION READ {mode}" for mode in ("ONLY", "WRITE"))
    _execute(no)
    yield
    _execute(yes)


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def assert_says_so(answer: Any) -> None:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (507, "storage_not_writable")
    assert body["detail"].startswith("The database can't be written to")
    assert body["correlation_id"] == answer["X-Correlation-ID"]


@pytest.mark.django_db(transaction=True)
class TestReadOnly:
    def test_the_api_refuses_to_write(self, as_alice: Client, read_only: None) -> None:
        assert_says_so(as_alice.post(SUBMIT, BODY, content_type="application/json"))
        assert_says_so(as_alice.put("/api/configs/one", {"config": {}}, content_type="application/json"))
        assert_says_so(as_alice.post("/api/account/keys", {"name": "mine"}, content_type="application/json"))
        assert not Job.objects.exists()
        assert not TrainingConfig.objects.exists()

    def test_the_log_says_it_once(self, as_alice: Client, read_only: None, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            as_alice.post(SUBMIT, BODY, content_type="application/json")
            as_alice.post("/new", {"config": "{}"})
        lines = [(record.name, record.getMessage()) for record in caplog.records if record.levelname == "ERROR"]
        own = [line for line in lines if line[1] != "request_finished"]  # each request has one of these
        assert own == [("simpletuner.cloud.http", "Requests fail: the database can't be written to")]

    def test_everything_can_be_read(self, as_alice: Client, read_only: None) -> None:
        for address in ("/", "/api/cloud/jobs", "/api/queue", "/api/cloud/metrics", "/account", "/queue"):
            assert as_alice.get(address).status_code == 200, address

    def test_a_key_reads_too(self, alice: User, as_alice: Client, request: pytest.FixtureRequest) -> None:
        key = issue_key(alice, "mine", timedelta(days=1), by=OPERATOR)[1]
        request.getfixturevalue("read_only")
        assert Client().get("/api/cloud/jobs", headers={"X-API-Key": key}).status_code == 200

    def test_signing_in_says_why_it_fails(self, alice: User, read_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(User, "check_password", lambda *_: True)  # else the hash would be written anew
        answer = Client(raise_request_exception=False).post("/login", {"login": "alice", "password": "any"})
        assert answer.status_code == 507
        assert "The database can&#x27;t be written to" in answer.content.decode()
        assert "<h1>" in answer.content.decode()

    def test_health_and_ready_say_so(self, as_alice: Client, read_only: None) -> None:
        ready = as_alice.get(READY)
        assert (ready.status_code, ready.json()) == (503, {"status": "the database can't be written to"})
        health = as_alice.get("/api/cloud/health").json()
        database = health["components"][0]
        assert (health["status"], database["status"]) == ("unhealthy", "unhealthy")
        assert "make the database and its disk writable" in database["message"]

    def test_a_webhook_is_to_be_sent_again(self, as_alice: Client, read_only: None) -> None:
        answer = Client(raise_request_exception=False).post(
            "/api/webhooks/replicate", b"{}", content_type="application/json"
        )
        assert_says_so(answer)


@pytest.mark.django_db
def test_ready_when_it_can_be_written(probed_anew: None) -> None:
    assert Client().get(READY).json() == {"status": "ready"}


@pytest.mark.sqlite
@pytest.mark.django_db
def test_not_ready_on_a_disk_whose_last_pages_are_left(probed_anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may still be written there, for SQLite keeps some for later; a job may not."""
    disk = SimpleNamespace(f_bavail=100, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    ready = Client().get(READY)
    assert (ready.status_code, ready.json()) == (503, {"status": "the disk is full"})
    disk.f_bavail = 1000
    forget_last_probe()
    assert Client().get(READY).status_code == 200


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_full_database_takes_no_job_and_loses_none(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    small = as_alice.post(SUBMIT, BODY, content_type="application/json")
    assert small.status_code == 201
    with connection.cursor() as cursor:
        # What other tests have deleted leaves pages to be used again.
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
        # Not for other connections: this one makes itself believe that the disk has no more room.
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    monkeypatch.setattr(connection, "close", lambda: None)
    large = {"config": {"note": "x" * 400_000}}
    answer = as_alice.post(SUBMIT, large, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert list(Job.objects.values_list("pk", flat=True)) == [small.json()["job_id"]]
    _execute("PRAGMA max_page_count = 1073741823")
    assert as_alice.post(SUBMIT, large, content_type="application/json").status_code == 201


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "storage_full"), (errno.EROFS, "storage_not_writable")])
def test_an_upload_without_room(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch, number: int, code: str, tmp_path: Path
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(number, "as the system says it")

    monkeypatch.setattr(upload_handler.DatasetHandler, "receive_data_chunk", no_room)
    monkeypatch.setattr(upload_handler, "incoming_folder", lambda: tmp_path)
    answer = as_alice.post("/api/cloud/uploads", {"file": SimpleUploadedFile("a.zip", make_zip({"a.txt": b"a"}))})
    assert (answer.status_code, answer.json()["code"]) == (507, code)
    assert not list(tmp_path.iterdir())


class TestAway:
    @pytest.fixture
    def away(self, as_alice: Client) -> Iterator[None]:
        """Every statement fails, as one does whose connection was cut."""
        from psycopg.errors import AdminShutdown

        def fail(*_: object) -> None:
            raise OperationalError("cut") from AdminShutdown()

        with connection.execute_wrapper(fail):
            yield

    @pytest.mark.parametrize("address", ["/", "/login?next=/", "/api/cloud/jobs", "/api/events", "/admin/"])
    def test_requests_are_to_be_tried_again(self, as_alice: Client, away: None, address: str) -> None:
        answer = as_alice.get(address)
        assert (answer.status_code, answer["Retry-After"]) == (503, "2")

    def test_health_and_ready_say_so(self, as_alice: Client, away: None) -> None:
        ready = as_alice.get(READY)
        assert (ready.status_code, ready.json()) == (503, {"status": "no database"})
        health = as_alice.get("/api/cloud/health")
        assert (health.status_code, health.json()["status"], health["Retry-After"]) == (503, "unhealthy", "2")


def test_other_errors_are_still_ours(as_alice: Client) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("no such column")

    with connection.execute_wrapper(fail):
        assert as_alice.get("/api/cloud/jobs").status_code == 500


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EMFILE, None)])
def test_a_body_that_finds_no_room_while_it_arrives(probed_anew: None, number: int, status: int | None) -> None:
    """Django puts a large body onto the disk before it calls anything that could answer for it."""
    sent: list[Message] = []

    async def django(*_: object) -> None:
        raise OSError(number, "as the system says it")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/cloud/uploads", "headers": []}
    with nullcontext() if status else pytest.raises(OSError, match="as the system says it"):
        async_to_sync(BodyLimit(django))(scope, receive, send)
    assert [message["status"] for message in sent if "status" in message] == ([status] if status else [])
