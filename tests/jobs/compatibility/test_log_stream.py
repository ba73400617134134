"""`simpletuner jobs logs --follow`: each line of the log as it comes, and the status at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from cloudtrain_site.models import ApiKey
from jobs.compatibility import log_stream
from jobs.models import Job, LogPiece
from jobs.statuses import JobStatus
from tests.wait import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow
MakeJob = Callable[..., Job]


class Follow(threading.Thread):
    """What the command does: it reads the stream to its end."""

    def __init__(self, site: str, job_id: str, key: str) -> None:
        super().__init__(daemon=True)
        self.address, self.key = f"{site}/api/cloud/jobs/{job_id}/logs/stream", key
        self.text, self.status = "", 0
        self.start()

    def run(self) -> None:
        headers = {"X-API-Key": self.key, "Accept": "text/event-stream"}
        with httpx.stream("GET", self.address, headers=headers, timeout=PATIENCE_SECONDS) as response:
            self.status = response.status_code
            for piece in response.iter_text():
                self.text += piece

    def ended(self) -> str:
        """Return what came, without the comments, once the stream has ended."""
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()
        return self.text.replace(": no news\n\n", "")


@pytest.fixture
def key(alice: User) -> str:
    return str(ApiKey.objects.create(user=alice, name="cli")[1])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "PAUSE_SECONDS", 0.05)


def write(job: Job, text: str) -> None:
    start = job.log_size
    end = start + len(text.encode())
    LogPiece.objects.create(job=job, start=start, end=end, text=text)
    Job.objects.filter(pk=job.pk).update(log_size=end)
    job.refresh_from_db()


def end(job: Job, status: str) -> None:
    Job.objects.filter(pk=job.pk).update(status=status, completed_at=timezone.now(), log_due_at=None)


def test_each_line_comes_once_and_then_the_status(web_server: str, key: str, make_job: MakeJob) -> None:
    job = make_job(provider="replicate", external_id="p1", status=JobStatus.RUNNING)
    job.log_fetched_at = timezone.now()  # so that Replicate is not asked
    job.save()
    write(job, "first\nsec")
    following = Follow(web_server, job.pk[:12], key)
    wait_until(lambda: "data: first\n\n" in following.text)
    write(job, "ond\r\nlast")
    wait_until(lambda: "data: second\n\n" in following.text)
    end(job, "completed")
    assert following.ended() == "data: first\n\ndata: second\n\ndata: last\n\nevent: done\ndata: completed\n\n"


def test_it_ends_with_the_right_to_see_the_job(web_server: str, key: str, make_job: MakeJob) -> None:
    job = make_job(status=JobStatus.PENDING)
    following = Follow(web_server, job.pk, key)
    wait_until(lambda: ": no news" in following.text)
    ApiKey.objects.all().delete()
    assert following.ended() == "event: done\ndata: stream_end\n\n"


def test_who_may_not_see_the_job_follows_nothing(web_server: str, charlie: User, key: str, make_job: MakeJob) -> None:
    job = make_job()
    address = f"{web_server}/api/cloud/jobs/{job.pk}/logs/stream"
    his = {"X-API-Key": str(ApiKey.objects.create(user=charlie, name="cli")[1])}
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers=his).status_code == 404
    assert httpx.post(address, headers={"X-API-Key": key}).status_code == 405
    connection.close()
