"""Ten thousand event streams over four web processes on PostgreSQL, and what each costs.

    python -m bench.bench_streams [--clients 10000] [--processes 4] [--seconds 20]

Fifty events a second go to one of a hundred organizations each, so that a reader gets one of a hundred. First all stay,
then twenty a second leave without a word and come back, then one of the processes is killed and all its readers come
back at once. A last arrival is the last of those whose stream was open when the event was sent: the others get it
when they are back, and whether they got all of them, once, is counted at the end. Beside it stands the least that a
server can do: one process that has the events in its memory and writes them to the same readers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

import uvloop

from bench.bench_rest import family, is_web, processor_seconds, share_mb
from bench.event_site import ORGANIZATIONS, OURS, Site, running_site
from bench.event_site import WRITES_A_SECOND as EVENTS_A_SECOND
from bench.stack import Figure, print_table
from bench.stream_readers import Arrivals, Reader
from tests.servers import free_port

LEAVE_A_SECOND = 20
CONNECT_AT_ONCE = 40
#: What a burst of requests makes a process load and keep is no stream's cost: these readers come before it is measured.
FIRST = 400
SETTLE_SECONDS = 5.0
#: For how long the readers may lack the last events after the writer has ended.
LATE_SECONDS = 30
MOST_KILOBYTES, MOST_MS = 25.0, 1000.0


@dataclass
class Phase:
    """What was seen in a stretch of time: how late the last reader of each event was, in seconds."""

    lasts: list[float] = field(default_factory=list)
    #: The last of those whose stream was open when the event was sent.
    lasts_of_open: list[float] = field(default_factory=list)
    cores: float = 0.0
    #: Until everybody had their stream again.
    until_all_seconds: float = 0.0

    def median_ms(self) -> float:
        return 1000 * median(self.lasts_of_open or [math.nan])

    def worst_ms(self) -> float:
        return 1000 * max(self.lasts_of_open, default=math.nan)


@dataclass
class Crowd:
    """All readers, and the processes that serve them."""

    readers: list[Reader]
    arrivals: Arrivals
    pids: Callable[[], list[int]]

    async def open(self) -> None:
        gate = asyncio.Semaphore(CONNECT_AT_ONCE)

        async def open_one(reader: Reader) -> None:
            async with gate:
                await reader.open()

        await asyncio.gather(*map(open_one, self.readers))

    async def watch(self, seconds: float, meanwhile: Coroutine[Any, Any, None] | None = None) -> Phase:
        """Note the events of the next seconds: for each when the last reader had it."""
        phase, before = Phase(), set(self.arrivals.latest)
        costs, started = {pid: processor_seconds(pid) for pid in self.pids()}, time.monotonic()
        task = asyncio.create_task(meanwhile) if meanwhile else None
        await asyncio.sleep(seconds)
        if task:
            await task
        # A process that was killed meanwhile tells nothing any more, nor does one that has begun since.
        spent = sum(processor_seconds(pid) - costs[pid] for pid in self.pids() if pid in costs)
        phase.cores = spent / (time.monotonic() - started)
        # The newest may not have reached everybody yet.
        await asyncio.sleep(2)
        phase.lasts, phase.lasts_of_open = (
            [late for key, late in latest.items() if key not in before]
            for latest in (self.arrivals.latest, self.arrivals.latest_of_open)
        )
        return phase

    async def outlive(self, pid: int, seconds: float) -> Phase:
        """Kill a process, and watch how its readers come back while the others stay."""
        killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        phase = await self.watch(seconds)
        await until(lambda: all(reader.is_open.is_set() for reader in self.readers))
        phase.until_all_seconds = max(reader.opened_at for reader in self.readers) - killed_at
        return phase

    async def come_and_go(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < ends_at:
                reader = random.choice(self.readers)
                if reader.is_open.is_set() and not reader.is_away:
                    group.create_task(self._go_and_come(reader))
                await asyncio.sleep(1 / LEAVE_A_SECOND)

    async def _go_and_come(self, reader: Reader) -> None:
        reader.leave()
        await asyncio.sleep(random.uniform(0.1, 2.0))
        await reader.come_back()

    async def until_settled(self, last_turns: dict[int, int]) -> int:
        """Wait until everybody has the last event of their organization. Returns how many readers don't."""

        def missing() -> int:
            return sum(reader.turn < last_turns.get(reader.organization, 0) for reader in self.readers)

        await until(lambda: not missing())
        return missing()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, but not for ever."""
    deadline = time.monotonic() + LATE_SECONDS
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)


def web_pids(site: Site) -> list[int]:
    found = []
    for pid in family(site.process.pid):
        with suppress(OSError):  # it has just ended
            if is_web(pid):
                found.append(pid)
    return found


async def measure(options: argparse.Namespace) -> list[Figure]:
    floor_phase = await measure_floor(options)
    with running_site(OURS, postgresql=True, processes=options.processes) as site:
        people = json.loads(await site.finish("people", seconds=240))
        while len(web_pids(site)) < options.processes:
            await asyncio.sleep(0.1)
        arrivals = Arrivals()
        places = [people[n % len(people)] for n in range(options.clients)]
        readers = [Reader(site.port, organization, session, arrivals) for organization, session in places]
        crowd = Crowd(readers, arrivals, lambda: web_pids(site))
        figures = [Figure("streams open", options.clients), *await open_all(crowd)]
        total = 3 * options.seconds + 10
        writer = asyncio.create_task(site.finish("tell", "--seconds", str(total), seconds=total + 60))
        await asyncio.sleep(2)
        figures += of_phase("all stay", await crowd.watch(options.seconds), floor_phase)
        moving = await crowd.watch(options.seconds, crowd.come_and_go(options.seconds))
        figures += of_phase(f"{LEAVE_A_SECOND} a second come and go", moving)
        before = arrivals.reconnects
        storm = await crowd.outlive(web_pids(site)[0], options.seconds)
        figures += of_phase("one process killed", storm)
        figures += [
            Figure("  its readers, who come back at once", arrivals.reconnects - before),
            Figure("  until all are back", storm.until_all_seconds, "s"),
            Figure("  an event's last arrival, of all, worst", max(storm.lasts, default=math.nan), "s"),
        ]
        missing = await crowd.until_settled({int(key): turn for key, turn in json.loads(await writer).items()})
        figures += [
            Figure("arrivals", arrivals.count),
            Figure("doubled", arrivals.doubled, target=0),
            Figure("lost", arrivals.lost, target=0),
            Figure("readers without the last event", missing, target=0),
            Figure("answers other than a stream", arrivals.refused.total(), target=0),
        ]
        for reader in readers:
            reader.leave()
    return figures


async def open_all(crowd: Crowd) -> list[Figure]:
    """Open all streams. Returns what each costs in processor time and memory."""
    readers = crowd.readers
    crowd.readers = readers[:FIRST]
    await crowd.open()
    await asyncio.sleep(2)
    memory, spent = sum(map(share_mb, crowd.pids())), sum(map(processor_seconds, crowd.pids()))
    started = time.monotonic()
    crowd.readers = readers[FIRST:]
    await crowd.open()
    crowd.readers = readers
    took, spent = time.monotonic() - started, sum(map(processor_seconds, crowd.pids())) - spent
    await asyncio.sleep(SETTLE_SECONDS)
    memory, count = sum(map(share_mb, crowd.pids())) - memory, len(readers) - FIRST
    idle = await crowd.watch(SETTLE_SECONDS)
    return [
        Figure("opened a second", count / took, "/s"),
        Figure("processor time to open one", 1000 * spent / count, "ms"),
        Figure("memory of one (PSS)", 1024 * memory / count, "kB", target=MOST_KILOBYTES),
        Figure("all idle: web, cores", idle.cores),
    ]


def of_phase(name: str, phase: Phase, least: Phase | None = None) -> list[Figure]:
    return [
        Figure(f"{name}: last arrival, median", phase.median_ms(), "ms", least and least.median_ms()),
        Figure(f"{name}: worst", phase.worst_ms(), "ms", least and least.worst_ms(), MOST_MS),
        Figure(f"{name}: web, cores", phase.cores, "", least and least.cores),
    ]


# --- The least that a server can do ---------------------------------------------------------------------------


async def floor(port: int, people: int, seconds: float) -> None:
    """Serve everybody from memory: a reader of organization N asks for it by its cookie."""
    readers: dict[int, list[asyncio.WriteTransport]] = {}

    class Floor(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.WriteTransport, transport)

        def data_received(self, data: bytes) -> None:
            organization = int(data.partition(b"sessionid=")[2].partition(b"\r\n")[0])
            greeting = b"HTTP/1.1 200 OK\r\n\r\nretry: 2000\nevent: stream-open\n\n"
            self.transport.write(greeting)
            readers.setdefault(organization, []).append(self.transport)

    await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port, backlog=2048)
    turns = dict.fromkeys(range(ORGANIZATIONS), 0)
    number = 0
    while sum(map(len, readers.values())) < people:
        await asyncio.sleep(0.1)
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        organization = random.randrange(ORGANIZATIONS)
        turns[organization] += 1
        number += 1
        event = {"id": number, "type": "bench", "turn": turns[organization], "at": time.monotonic()}
        text = f"id: {number}\ndata: {json.dumps(event)}\n\n".encode()
        for transport in readers.get(organization, []):
            transport.write(text)
        await asyncio.sleep(max(0.0, started + number / EVENTS_A_SECOND - time.monotonic()))


async def measure_floor(options: argparse.Namespace) -> Phase:
    port, arrivals = free_port(), Arrivals()
    command = [sys.executable, "-m", "bench.bench_streams", "--floor", str(port), "--clients", str(options.clients)]
    process = await asyncio.create_subprocess_exec(*command, "--seconds", str(options.seconds + 5))
    try:
        readers = [Reader(port, n % ORGANIZATIONS, str(n % ORGANIZATIONS), arrivals) for n in range(options.clients)]
        crowd = Crowd(readers, arrivals, lambda: [process.pid])
        await crowd.open()
        phase = await crowd.watch(options.seconds)
        for reader in readers:
            reader.leave()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return phase


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--floor", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.floor:
        uvloop.run(floor(options.floor, options.clients, options.seconds))
        return 0
    title = f"{options.clients} streams over {options.processes} web processes on PostgreSQL; baseline: the least"
    return print_table(title, uvloop.run(measure(options)))


if __name__ == "__main__":
    sys.exit(main())
