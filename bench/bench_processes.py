"""Reads with one web process and with two: how many a second, and what each takes of the processor.

    python -m bench.bench_processes [--on sqlite,postgresql] [--seconds 10]

A member reads a page of fifty jobs over the API, on connections that are kept. To reach: 1.8 times as many with two
processes. Beside it stands the least that Django can do: a view that reads the same rows, without a user, under
uvicorn's own workers. The client and the database need the same cores as the processes: "possible" is what they leave
for two, by the processor time of each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.bench_rest import family, processor_seconds
from bench.ending import end
from bench.event_site import OURS, Site, running_site
from bench.stack import Figure, print_table
from tests.servers import free_port, wait_for_port

CLIENTS = 12
PATH = "/api/cloud/jobs?limit=50"
WARM_UP_SECONDS = 2.0
TARGET = 1.8
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Client(asyncio.Protocol):
    """Asks for the same again and again on one connection."""

    def __init__(self, request: bytes) -> None:
        self.request, self.answers, self.bad = request, 0, 0
        self._left = 0
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            head, _, body = data.partition(b"\r\n\r\n")
            self.bad += b" 200 " not in head[:20]
            length = LENGTH.search(head)
            self._left = int(length[1]) - len(body) if length else 0
        else:
            self._left -= len(data)
        if not self._left and self.transport is not None:
            self.answers += 1
            self.transport.write(self.request)


@dataclass(frozen=True)
class Reads:
    """What was seen of one server."""

    a_second: float
    #: Milliseconds of processor time for each read.
    web: float
    database: float
    client: float

    @property
    def all(self) -> float:
        return self.web + self.database + self.client


async def measure(port: int, web: int, database: int | None, headers: str, seconds: float) -> Reads:
    request = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(lambda: Client(request), "127.0.0.1", port))[1] for _ in range(CLIENTS)]

    def spent() -> list[float]:
        return [sum(_seconds(pid) for pid in family(of)) if of else 0.0 for of in (web, database, os.getpid())]

    def answers() -> int:
        return sum(client.answers for client in clients)

    await asyncio.sleep(WARM_UP_SECONDS)
    before, count, started = spent(), answers(), time.monotonic()
    await asyncio.sleep(seconds)
    took, count, after = time.monotonic() - started, answers() - count, spent()
    assert not sum(client.bad for client in clients), "an answer was none"
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
    web_ms, database_ms, own = (1000 * (b - a) / count for a, b in zip(before, after, strict=True))
    # The servers are our children.
    return Reads(count / took, web_ms, database_ms, own - web_ms - database_ms)


def _seconds(pid: int) -> float:
    try:
        return processor_seconds(pid)
    except OSError:
        return 0.0


@contextmanager
def plain_site(site: Site, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the same rows by the least of Django, on a port of its own."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.plain_site:application", "--port", str(port)]
    command += ["--workers", str(processes), "--no-access-log", "--lifespan", "off", "--log-level", "critical"]
    process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=site.environment)
    try:
        wait_for_port(port, process)
        site.port = port
        yield process
    finally:
        end(process)


async def both(site: Site, processes: int, seconds: float) -> tuple[Reads, Reads]:
    """Return what our site did, and what the least of Django did."""
    await site.finish("rows")
    cookie = f"Cookie: sessionid={site.session}\r\n"
    ours = await measure(site.port, site.process.pid, site.database_pid, cookie, seconds)
    with plain_site(site, processes) as process:
        return ours, await measure(site.port, process.pid, site.database_pid, "", seconds)


def compare(database: str, seconds: float) -> Iterator[Figure]:
    """Ours, each beside the least of Django."""
    found: list[tuple[Reads, Reads]] = []
    for processes in (1, 2):
        with running_site(OURS, postgresql=database == "postgresql", processes=processes) as site:
            found.append(uvloop.run(both(site, processes, seconds)))
    (one, plain_one), (two, plain_two) = found
    ratio, plain_ratio = two.a_second / one.a_second, plain_two.a_second / plain_one.a_second
    yield Figure(f"{database}: a second, one process", one.a_second, "/s", plain_one.a_second)
    yield Figure(f"{database}: a second, two processes", two.a_second, "/s", plain_two.a_second)
    yield Figure("  times as many", ratio, "", plain_ratio, TARGET, at_least=True)
    # Alone a process has a core of its own, unless client and database together need more than the other.
    possible = (2 / two.all) / min(1 / one.web, 2 / one.all)
    plain_possible = (2 / plain_two.all) / min(1 / plain_one.web, 2 / plain_one.all)
    yield Figure("  possible on these cores", possible, "", plain_possible, at_least=True)
    for name in ("web", "database", "client"):
        yield Figure(f"  of the processor for each: {name}", getattr(two, name), "ms", getattr(plain_two, name))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    found = [figure for database in options.on.split(",") for figure in compare(database, options.seconds)]
    return print_table(f"Reads, {CLIENTS} clients; baseline: the least of Django", found)


if __name__ == "__main__":
    sys.exit(main())
