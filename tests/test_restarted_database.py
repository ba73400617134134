"""PostgreSQL restarted under a site that people use: no request is answered 500, and what was taken is there, once."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User

from jobs.statuses import TERMINAL
from tests.servers import PostgresServer
from tests.site import QUICK, Site, make_people
from tests.wait import wait_until
from tests.web import session_cookies

pytestmark = [
    *(pytest.mark.slow, pytest.mark.long, pytest.mark.postgresql),
    *(pytest.mark.django_db, pytest.mark.timeout(600)),
]

RESTARTS = int(os.environ.get("CLOUDTRAIN_TEST_RESTARTS", "3"))
#: Between two restarts, so that every part of the site has connections again.
ANSWERS_BETWEEN = 200
READ = ("/api/cloud/jobs", "/api/queue", "/api/cloud/health", "/api/cloud/health/ready", "/", "/queue", "/login")
PAUSE_SECONDS = 0.2
#: What a client sees of a server that answers; others are our errors.
EXPECTED = {200, 201, 302, 503}


def prepare() -> None:
    """People, and a session of one of them: to be run by a process of the site."""
    make_people()
    sys.stdout.write("\n" + json.dumps(session_cookies(User.objects.get(username="alice"))))


@dataclass
class Load:
    """Clients that go on asking, and what they were answered."""

    site: Site
    cookies: dict[str, str]
    over: threading.Event = field(default_factory=threading.Event)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0

    def read(self, number: int) -> None:
        address = f"http://127.0.0.1:{self.site.port}"
        with httpx.Client(base_url=address, cookies=self.cookies, timeout=30) as client:
            for path in itertools.cycle(READ[number:] + READ[:number]):
                if self.over.is_set():
                    return
                self._note("read", client.get(path))

    def listen(self) -> None:
        """Open the stream of events, again and again."""
        while not self.over.is_set():
            with self.site.clients["bob"].stream("GET", "/api/events") as answer:
                self._note("listen", answer)
            self.over.wait(PAUSE_SECONDS)

    def submit(self, number: int) -> None:
        for count in itertools.count():
            if self.over.is_set():
                return
            name = f"of {number}, {count}"
            body = {"config": {**QUICK, "max_train_steps": 1}, "config_name": name}
            # A lead: no rule holds his first job.
            answer = self.site.clients["bob"].post("/api/cloud/jobs/submit", json=body)
            self._note("submit", answer)
            if answer.status_code == 201:
                self.taken[name] = answer.json()["job_id"]
            self.over.wait(PAUSE_SECONDS)

    def _note(self, kind: str, answer: httpx.Response) -> None:
        self.answers[kind, answer.status_code] += 1
        if answer.status_code not in EXPECTED or (answer.status_code == 503 and not _is_announced(answer)):
            self.bad.append(f"{answer.request.method} {answer.url.path}: {answer.status_code} {answer.headers}")
        if answer.is_closed:
            self.slowest = max(self.slowest, answer.elapsed.total_seconds())


def _is_announced(answer: httpx.Response) -> bool:
    """Whether it says when to come back; the probes of a balancer needn't."""
    return "Retry-After" in answer.headers or "/health" in answer.url.path


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    started = PostgresServer.start()
    yield started
    started.stop()


@pytest.fixture
def load(server: PostgresServer, tmp_path: Path) -> Iterator[Load]:
    site = Site(tmp_path, server.url)
    (tmp_path / "data").mkdir()
    site.config.write_text("background:\n  queue_processing:\n    interval_seconds: 1\n")
    try:
        site.ensure_up()
        keys, cookies = map(json.loads, site.call(prepare).splitlines()[-2:])
        site.open_clients(keys)
        yield Load(site, cookies)
    finally:
        site.end()


def test_no_request_fails_and_nothing_is_lost(server: PostgresServer, load: Load) -> None:
    with ThreadPoolExecutor(8) as clients:
        running = [clients.submit(load.read, number) for number in range(4)]
        running += [clients.submit(load.submit, number) for number in range(3)]
        running.append(clients.submit(load.listen))
        try:
            for how in itertools.islice(itertools.cycle([signal.SIGINT, signal.SIGQUIT]), RESTARTS):
                enough = load.answers.total() + ANSWERS_BETWEEN
                wait_until(lambda enough=enough: load.answers.total() >= enough, 120)  # type: ignore[misc]
                server.halt(how)
                server.resume()
            enough = load.answers.total() + ANSWERS_BETWEEN
            wait_until(lambda: load.answers.total() >= enough, 120)
        finally:
            load.over.set()
        for client in running:
            client.result(60)
    sys.stdout.write(f"{RESTARTS} restarts: {dict(load.answers)}, the slowest {load.slowest:.2f} s\n")
    assert load.bad == []
    assert load.slowest < 10
    stored = Counter(name for (name,) in load.site.query("SELECT config_name FROM jobs_job"))
    assert len(load.taken) >= RESTARTS
    assert set(load.taken) <= set(stored)
    assert set(stored.values()) == {1}
    ended = ", ".join(f"'{status}'" for status in TERMINAL)
    # The queue goes on: what a restart has hit does not take its slot.
    done = f"SELECT COUNT(*) FROM jobs_job WHERE status IN ({ended})"
    before = load.site.query(done)[0][0]
    wait_until(lambda: load.site.query(done)[0][0] >= min(before + 2, len(stored)), 120)
