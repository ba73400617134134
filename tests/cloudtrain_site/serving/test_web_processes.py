"""Two web processes on one port, under load: one dies, both are replaced, limits hold across them, and all end."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.cloudtrain_site.process_stacks import START_SECONDS, Stack, running_stack, wait_until
from tests.cloudtrain_site.process_stacks import migrated as migrated
from tests.site import QUICK, Site

pytestmark = [pytest.mark.slow, pytest.mark.long]

LIVE = "/api/cloud/health/live"
LIMIT = 6
CLIENTS = 4
PAUSE_SECONDS = 0.01


@dataclass
class Load:
    """What the clients met: how many answers were good, and everything else."""

    good: int = 0
    bad: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str) -> None:
        with self._lock:
            if outcome == "200":
                self.good += 1
            else:
                self.bad.append(outcome)

    def wait_for_more(self) -> None:
        enough = self.good + 50
        wait_until(lambda: self.good >= enough, START_SECONDS)


def web_pids(site: Site) -> set[int]:
    return {pid for pid in site.pids() if b"cloudtrain_site.web" in _command_line(pid)}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has just ended


def answered_by(site: Site) -> Counter[int]:
    """How many requests each process has answered, as the log says."""
    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    return Counter(line["extra"]["pid"] for line in lines if line["message"] == "request_finished")


def wait_until_both_answer(site: Site) -> set[int]:
    """Return the two processes, once each has answered a request."""

    def both_answer() -> bool:
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{site.port}{LIVE}", timeout=START_SECONDS)
        return len(web_pids(site)) == 2 and web_pids(site) <= answered_by(site).keys()

    wait_until(both_answer, START_SECONDS)
    return web_pids(site)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Stack) -> Iterator[Site]:
    """One for the whole module, whose last test kills it."""
    with running_stack(tmp_path_factory.mktemp("web"), migrated) as stack:
        site = Site(stack.folder, stack.database_url, stack.mark, stack.started)
        site.make_people()
        limits = {"CLOUDTRAIN_LIMIT_STREAMS": str(LIMIT), "CLOUDTRAIN_LIMIT_PREVIEWS_PER_MINUTE": str(LIMIT)}
        command = ("-m", "cloudtrain_site.web", "--port", str(site.port), "--processes", "2")
        # Under nohup the tests ignore it, and the stack would inherit that.
        inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        site.up = site.start(*command, **limits)
        signal.signal(signal.SIGHUP, inherited)
        wait_until_both_answer(site)
        try:
            yield site
        finally:
            site.end()


@contextmanager
def load(site: Site) -> Iterator[Load]:
    """Clients that ask on and on: each keeps its connection, and opens another one every fourth time."""
    met, stop = Load(), threading.Event()

    def ask() -> None:
        with closing(HTTPConnection("127.0.0.1", site.port, timeout=START_SECONDS)) as connection:
            for number in count(1):
                met.note(_outcome(connection))
                if number % 4 == 0:
                    connection.close()
                if stop.wait(PAUSE_SECONDS):
                    return

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask) for _ in range(CLIENTS)]
        try:
            yield met
        finally:
            stop.set()
    for client in clients:
        client.result()


def _outcome(connection: HTTPConnection) -> str:
    try:
        connection.request("GET", LIVE)
        answer = connection.getresponse()
        answer.read()
    except (HTTPException, OSError) as error:
        connection.close()
        return repr(error)
    return str(answer.status)


@dataclass
class Stream:
    """A connection with an open event stream on it."""

    connection: socket.socket

    def is_over(self) -> bool:
        try:
            while self.connection.recv(4096):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            pass
        return True


def open_stream(opened: ExitStack, site: Site, name: str) -> Stream | None:
    """Open that person's event stream; None: it is one too many."""
    connection = opened.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=START_SECONDS))
    key = site.clients[name].headers["X-API-Key"]
    connection.sendall(f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode())
    status = connection.makefile("rb", buffering=0).readline().split()[1]
    assert status in (b"200", b"429"), status
    connection.setblocking(False)
    return Stream(connection) if status == b"200" else None


class TestLimits:
    def test_one_person_has_as_many_streams_as_in_one_process(self, site: Site) -> None:
        with ExitStack() as opened, ThreadPoolExecutor(4) as pool:
            streams = list(pool.map(lambda _: open_stream(opened, site, "charlie"), range(2 * LIMIT)))
            assert sum(stream is not None for stream in streams) == LIMIT
            wait_until(lambda: len(told_counts(site)) == 2, START_SECONDS)

    def test_requests_a_minute_are_counted_together(self, site: Site) -> None:
        before, body = answered_by(site), {"config": QUICK, "dry_run": True}

        def ask(_: int) -> int:
            client = site.clients["alice"]
            return httpx.post(f"{client.base_url}/api/cloud/jobs/submit", headers=client.headers, json=body).status_code

        with ThreadPoolExecutor(4) as pool:
            assert Counter(pool.map(ask, range(2 * LIMIT))) == {
                HTTPStatus.OK: LIMIT,
                HTTPStatus.TOO_MANY_REQUESTS: LIMIT,
            }
        assert len(answered_by(site) - before) == 2, "both have answered"


def told_counts(site: Site) -> list[int]:
    """How many streams each process has, as they tell."""
    rows = [
        json.loads(row) if isinstance(row, str) else row
        for (row,) in site.query("SELECT by_user FROM cloudtrain_site_streamcount")
    ]
    return [sum(row.values()) for row in rows if row]


class TestUnderLoad:
    def test_one_that_dies_costs_its_own_connections_alone_and_is_replaced(self, site: Site) -> None:
        killed, survivor = sorted(web_pids(site))
        with load(site) as met, ExitStack() as opened:
            streams = [
                stream for name in ("alice", "bob") for _ in range(LIMIT) if (stream := open_stream(opened, site, name))
            ]
            wait_until(lambda: sum(told_counts(site)) == 2 * LIMIT, START_SECONDS)
            assert min(told_counts(site)) >= LIMIT // 2, "one process has nearly all streams"
            met.wait_for_more()
            os.kill(killed, signal.SIGKILL)
            met.wait_for_more()
            assert sum(stream.is_over() for stream in streams) in told_counts(site)
            wait_until_both_answer(site)
            met.wait_for_more()
        assert len(met.bad) <= CLIENTS, met.bad
        assert survivor in web_pids(site)

    def test_a_hang_up_replaces_both_and_no_request_fails(self, site: Site) -> None:
        former = web_pids(site)
        assert site.up is not None
        with load(site) as met, ExitStack() as opened:
            stream = open_stream(opened, site, "vera")
            met.wait_for_more()
            site.up.send_signal(signal.SIGHUP)
            wait_until(lambda: not former & web_pids(site), START_SECONDS)
            assert wait_until_both_answer(site).isdisjoint(former)
            met.wait_for_more()
            assert stream is not None
            assert stream.is_over(), "its client comes back to a new one"
        assert met.bad == []
        assert site.up.poll() is None


def test_kill_9_of_the_parent_leaves_nothing(site: Site) -> None:
    assert site.up is not None
    site.up.kill()
    site.wait_until_gone(15)
