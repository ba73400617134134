"""Ten thousand event streams over four web processes on PostgreSQL, and what each costs.

    python -m bench.bench_streams [--clients 10000] [--processes 4] [--seconds 20]

Fifty events a second go to one of a hundred organizations each, so that a reader gets one of a hundred. First all stay,
then twenty a second leave without a word and come back, then one of the processes is killed. Beside it stands the
least that a server can do: one process that has the events in its memory and writes them to the same readers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.bench_rest import family, is_web, processor_seconds, share_mb
from bench.event_site import ORGANIZATIONS, OURS, Site, running_site
from bench.event_site import WRITES_A_SECOND as EVENTS_A_SECOND
from bench.stream_readers import Arrivals, Reader
from tests.servers import free_port

LEAVE_A_SECOND = 20
CONNECT_AT_ONCE = 40
#: What a burst of requests makes a process load and keep is no stream's cost: these readers come before it is measured.
FIRST = 400
SETTLE_SECONDS = 5
#: For how long the readers may lack the last events after the writer has ended.
LATE_SECONDS = 30
MOST_KILOBYTES, MOST_SECONDS = 25, 1.0


@dataclass
class Phase:
    """What was seen in a stretch of time."""

    name: str
    lasts: list[float] = field(default_factory=list)
    incomplete: int = 0
    processor: float = 0.0

    def row(self) -> str:
        lasts = sorted(self.lasts)
        figures = [lasts[len(lasts) // 2], lasts[len(lasts) * 99 // 100], lasts[-1]] if lasts else [float("nan")] * 3
        shown = " | ".join(f"{1000 * figure:9.0f}" for figure in figures)
        return f"| {self.name:44} | {len(lasts):6} | {shown} | {self.processor:9.2f} |"


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

    async def watch(self, name: str, seconds: float, meanwhile: Coroutine[Any, Any, None] | None = None) -> Phase:
        """Note the events of the next seconds: for each when the last reader had it."""
        phase, before = Phase(name), set(self.arrivals.latest)
        costs, started = {pid: processor_seconds(pid) for pid in self.pids()}, time.monotonic()
        task = asyncio.create_task(meanwhile) if meanwhile else None
        await asyncio.sleep(seconds)
        if task:
            await task
        # A process that was killed meanwhile tells nothing any more, nor does one that has begun since.
        spent = sum(processor_seconds(pid) - costs[pid] for pid in self.pids() if pid in costs)
        phase.processor = spent / (time.monotonic() - started)
        # The newest may not have reached everybody yet.
        await asyncio.sleep(2)
        phase.lasts = [late for key, late in self.arrivals.latest.items() if key not in before]
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
        deadline = time.monotonic() + LATE_SECONDS
        while True:
            missing = sum(reader.turn < last_turns.get(reader.organization, 0) for reader in self.readers)
            if not missing or time.monotonic() > deadline:
                return missing
            await asyncio.sleep(0.2)


def web_pids(site: Site) -> list[int]:
    found = []
    for pid in family(site.process.pid):
        with suppress(OSError):  # it has just ended
            if is_web(pid):
                found.append(pid)
    return found


def connections_of(pid: int) -> int:
    return sum(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())


async def measure(options: argparse.Namespace) -> None:
    with running_site(OURS, postgresql=True, processes=options.processes) as site:
        people = json.loads(await site.finish("people", seconds=240))
        while len(web_pids(site)) < options.processes:
            await asyncio.sleep(0.1)
        arrivals = Arrivals()
        places = [people[n % len(people)] for n in range(options.clients)]
        readers = [Reader(site.port, organization, session, arrivals) for organization, session in places]
        crowd = Crowd(readers[:FIRST], arrivals, lambda: web_pids(site))
        await crowd.open()
        await asyncio.sleep(2)
        before = sum(map(share_mb, web_pids(site)))
        cost, started = sum(map(processor_seconds, web_pids(site))), time.monotonic()
        crowd.readers = readers[FIRST:]
        await crowd.open()
        crowd.readers = readers
        took = time.monotonic() - started
        cost = sum(map(processor_seconds, web_pids(site))) - cost
        await asyncio.sleep(SETTLE_SECONDS)
        after = sum(map(share_mb, web_pids(site)))
        kilobytes = 1024 * (after - before) / (options.clients - FIRST)
        spread = sorted(map(connections_of, web_pids(site)))
        print(f"\n{options.clients} streams over {options.processes} web processes on PostgreSQL\n")
        print(f"opened in {took:.0f} s, {1000 * cost / (options.clients - FIRST):.1f} ms of processor time each")
        print(f"sockets of each process: {', '.join(map(str, spread))}")
        print(f"memory: {before:.0f} MB (PSS) before, {after:.0f} MB with all: {kilobytes:.1f} kB a stream", end="")
        print("" if kilobytes <= MOST_KILOBYTES else " MISSED", f"(target {MOST_KILOBYTES})", flush=True)
        seconds = options.seconds
        total = 3 * seconds + 10
        writer = asyncio.create_task(site.finish("tell", "--seconds", str(total), seconds=total + 60))
        await asyncio.sleep(2)
        print_heads()
        staying = await crowd.watch("all stay", seconds)
        print(staying.row(), "MISSED" if max(staying.lasts, default=9) > MOST_SECONDS else "", flush=True)
        moving = await crowd.watch(
            f"{LEAVE_A_SECOND} a second leave and come back", seconds, crowd.come_and_go(seconds)
        )
        print(moving.row(), flush=True)
        reconnects = arrivals.reconnects
        os.kill(web_pids(site)[0], signal.SIGKILL)
        print((await crowd.watch("one process is killed, its readers come back", seconds)).row(), flush=True)
        last_turns = {int(key): turn for key, turn in json.loads(await writer).items()}
        missing = await crowd.until_settled(last_turns)
        count, later = sum(arrivals.readers.values()), arrivals.reconnects - reconnects
        print(f"\n{count} arrivals, {reconnects} and {later} reconnects:", end=" ")
        print(f"{arrivals.doubled} doubled, {arrivals.lost} lost, {missing} readers without the last event")
        print(f"refused: {dict(arrivals.refused) or 'none'}", flush=True)
        for reader in readers:
            reader.leave()


def print_heads() -> None:
    heads = " | ".join(f"{head:>9}" for head in ("median", "99 %", "worst", "cores"))
    print(f"\n| {'last arrival of an event, ms':44} | events | {heads} |")
    print(f"|{'-' * 46}|{'-' * 7}:|{'-' * 10}:|{'-' * 10}:|{'-' * 10}:|{'-' * 10}:|", flush=True)


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


async def measure_floor(options: argparse.Namespace) -> None:
    port, arrivals = free_port(), Arrivals()
    command = [sys.executable, "-m", "bench.bench_streams", "--floor", str(port), "--clients", str(options.clients)]
    process = await asyncio.create_subprocess_exec(*command, "--seconds", str(options.seconds + 5))
    try:
        readers = [Reader(port, n % ORGANIZATIONS, str(n % ORGANIZATIONS), arrivals) for n in range(options.clients)]
        crowd = Crowd(readers, arrivals, lambda: [process.pid])
        await asyncio.sleep(1)
        await crowd.open()
        phase = await crowd.watch("the least that a server can do", options.seconds)
        print_heads()
        print(phase.row(), flush=True)
        for reader in readers:
            reader.leave()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def main() -> None:
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
        return
    uvloop.run(measure(options))
    uvloop.run(measure_floor(options))


if __name__ == "__main__":
    main()
