"""A thousand idle browsers, one event and a burst to all of them, and browsers that come and go while others write.

Our event stream beside the library's own, each with a database, a web process and clients of its own, one after
the other, on the loopback address. Run it from the top of the repository:

    python -m bench.bench_events [--postgresql] [--clients 1000] [--seconds 15]

The library's stream hears only of events that its own process stores, unless there is a Redis; to spare it that
way round, its web process stores them itself, at the other process's request. Ours is written to by anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from statistics import median

from bench.event_site import BURST_EVENTS, FAN_OUT_ROUNDS, OURS, STOCK, Site, running_site
from bench.stack import Figure, print_table

RECONNECTING_CLIENTS = 20
WRITERS = 2
CONNECT_AT_ONCE = 20
CONNECT_BUDGET_SECONDS = 60
#: Each of the two measurements, of each stream. The library's can go on for many minutes on PostgreSQL: every open
#: stream keeps a connection of the pool, so whoever comes, or stores an event, waits 20 s for one and fails.
DEADLINE_SECONDS = 150


# --- The clients ---------------------------------------------------------------------------------------------


class RefusedError(Exception):
    """The server answered with something other than a stream."""


@dataclass
class Browser:
    """A client that remembers its last id, as an EventSource does, and when it got what."""

    site: Site
    last_id: str | None = None
    arrivals: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    sent_at: dict[str, float] = field(default_factory=dict)
    _writer: asyncio.StreamWriter | None = None
    _task: asyncio.Task[None] | None = None
    _rest: str = ""

    async def connect(self) -> None:
        """Open the stream, and read it in the background from then on."""
        self._rest = ""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self.site.port)
        resume = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
        head = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nCookie: sessionid={self.site.session}\r\n{resume}\r\n"
        self._writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise RefusedError(answer.split(b"\r\n", 1)[0].decode())
        await self._take(reader)  # the greeting
        self._task = asyncio.create_task(self._read(reader))

    async def leave(self) -> None:
        """Go without a word, in the middle of whatever is being sent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.transport.abort()

    async def come_back(self) -> None:
        """Connect again, a few times if need be, as an EventSource does."""
        for _ in range(20):
            with contextlib.suppress(RefusedError, OSError, asyncio.IncompleteReadError):
                return await self.connect()
            await asyncio.sleep(0.2)
        return None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while True:
                await self._take(reader)
        await self.come_back()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        """One chunk of the response. An event counts, with its id, when all of it is there."""
        size = int(await reader.readuntil(b"\r\n"), 16)
        self._rest += (await reader.readexactly(size + 2))[:-2].decode()
        now = time.monotonic()
        *blocks, self._rest = self._rest.split("\n\n")
        for line in "\n".join(blocks).splitlines():
            if line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("data: {") and "token" in (data := json.loads(line[6:])):
                self.counts[data["token"]] += 1
                self.arrivals.setdefault(data["token"], now)
                self.sent_at[data["token"]] = data.get("at", 0.0)


async def connect_all(site: Site, count: int) -> list[Browser]:
    """As many of `count` clients as the server takes within the budget."""
    gate = asyncio.Semaphore(CONNECT_AT_ONCE)
    opened: list[Browser] = []

    async def connect_one() -> None:
        async with gate:
            browser = Browser(site)
            with contextlib.suppress(RefusedError, OSError, asyncio.IncompleteReadError):
                await browser.connect()
                opened.append(browser)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_BUDGET_SECONDS):
            await asyncio.gather(*(connect_one() for _ in range(count)))
    return opened


# --- The two measurements ------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What was measured of one stream; not a number is what could not be, before the time was over."""

    opened: int = 0
    connections: float = float("nan")
    threads: float = float("nan")
    megabytes: float = float("nan")
    idle_cpu: float = float("nan")
    first_ms: float = float("nan")
    last_ms: float = float("nan")
    spread_ms: float = float("nan")
    worst_ms: float = float("nan")
    fan_out_cpu_ms: float = float("nan")
    reached: float = float("nan")
    burst_ms: float = float("nan")
    burst_cpu_ms: float = float("nan")
    burst_reached: float = float("nan")
    messages: float = float("nan")
    reconnects: int = 0
    doubled: float = float("nan")
    lost: float = float("nan")
    cut_off: bool = False


async def measure_idle_and_fan_out(site: Site, clients: int, figures: Figures) -> None:
    """All clients idle; then single events from another process to all of them."""
    browsers = await connect_all(site, clients)
    figures.opened = len(browsers)
    await asyncio.sleep(3)
    cpu, started = site.cpu_seconds(), time.monotonic()
    await asyncio.sleep(5)
    figures.idle_cpu = 100 * (site.cpu_seconds() - cpu) / (time.monotonic() - started)
    with contextlib.suppress(Exception):  # a database with no connection left to give can't be asked
        figures.connections = site.connections()
    figures.threads, figures.megabytes = site.threads(), site.megabytes()
    cpu, started = site.cpu_seconds(), time.monotonic()
    await site.finish("announce")
    await asyncio.sleep(2)
    busy = site.cpu_seconds() - cpu - (time.monotonic() - started) * figures.idle_cpu / 100
    figures.fan_out_cpu_ms = 1000 * max(busy, 0) / (FAN_OUT_ROUNDS + 1)  # the warm-up is one more
    note_fan_out(browsers, figures)
    await measure_burst(site, browsers, figures)
    await asyncio.gather(*(browser.leave() for browser in browsers))


def note_fan_out(browsers: list[Browser], figures: Figures) -> None:
    """Of all rounds, the median first and last arrival, and the worst."""
    firsts, lasts, spreads, reached = [], [], [], []
    for number in range(FAN_OUT_ROUNDS):
        token = f"round-{number}"
        got = [browser for browser in browsers if token in browser.arrivals]
        reached.append(len(got))
        delays = sorted(1000 * (browser.arrivals[token] - browser.sent_at[token]) for browser in got)
        if delays:
            firsts.append(delays[0])
            lasts.append(delays[-1])
            spreads.append(delays[-1] - delays[0])
    figures.reached = min(reached)
    if firsts:
        figures.first_ms, figures.last_ms, figures.worst_ms = median(firsts), median(lasts), max(lasts)
        figures.spread_ms = median(spreads)


async def measure_burst(site: Site, browsers: list[Browser], figures: Figures) -> None:
    """Many events in one commit, to all clients: when the last client has the last of them, and who has all, once."""
    tokens = {f"burst-{number}" for number in range(BURST_EVENTS)}
    cpu = site.cpu_seconds()
    await site.finish("burst")
    await until_all(browsers, lambda browser: tokens <= browser.counts.keys(), 30)
    figures.burst_cpu_ms = 1000 * (site.cpu_seconds() - cpu)
    complete = [browser for browser in browsers if all(browser.counts[token] == 1 for token in tokens)]
    figures.burst_reached = len(complete)
    if complete and len(complete) == len(browsers):
        figures.burst_ms = max(
            1000 * (browser.arrivals[token] - browser.sent_at[token]) for browser in complete for token in tokens
        )


async def measure_coming_and_going(site: Site, seconds: float, figures: Figures) -> None:
    """Clients that leave and come back at random while other processes write: what came twice, what never."""
    browsers = await connect_all(site, RECONNECTING_CLIENTS)
    writers = [
        asyncio.create_task(site.finish("write", "--writer", str(number), "--seconds", str(seconds)))
        for number in range(WRITERS)
    ]
    await until_all(browsers, lambda browser: bool(browser.counts), 30)
    ends_at = time.monotonic() + seconds
    await asyncio.gather(*(come_and_go(browser, ends_at, figures) for browser in browsers))
    counts = [int(await writer) for writer in writers]
    expected = {f"{writer}-{number}" for writer, count in enumerate(counts) for number in range(count)}
    await until_all(browsers, lambda browser: expected <= browser.counts.keys(), 30)
    figures.messages = figures.doubled = figures.lost = 0
    for browser in browsers:
        figures.messages += browser.counts.total()
        figures.doubled += browser.counts.total() - len(browser.counts)
        figures.lost += len(expected - browser.counts.keys())
        await browser.leave()


async def come_and_go(browser: Browser, ends_at: float, figures: Figures) -> None:
    while time.monotonic() < ends_at:
        await asyncio.sleep(random.uniform(0.05, 1.0))
        await browser.leave()
        await browser.come_back()
        figures.reconnects += 1


async def until_all(browsers: list[Browser], condition: Callable[[Browser], bool], seconds: float) -> None:
    """Wait until `condition` holds for all of them, but not for ever."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(map(condition, browsers)):
        await asyncio.sleep(0.1)


def measure(kind: str, options: argparse.Namespace) -> Figures:
    figures = Figures()
    with running_site(kind, postgresql=options.postgresql) as site:
        asyncio.run(in_time(measure_idle_and_fan_out(site, options.clients, figures), figures))
    with running_site(kind, postgresql=options.postgresql) as site:
        asyncio.run(in_time(measure_coming_and_going(site, options.seconds, figures), figures))
    return figures


async def in_time(measurement: Coroutine[None, None, None], figures: Figures) -> None:
    """Measure, but not for ever; what has been measured by then counts."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await measurement
    except (TimeoutError, subprocess.TimeoutExpired):
        figures.cut_off = True


# --- The table -----------------------------------------------------------------------------------------------


def figures_of(ours: Figures, stock: Figures, options: argparse.Namespace) -> Iterator[Figure]:
    """Each figure beside the library's, and its target; what could not be measured misses it."""
    rows = [
        ("clients open", "opened", "", None),
        ("database connections", "connections", "", 3),
        ("threads", "threads", "", 12),
        ("memory (PSS)", "megabytes", "MB", 120),
        ("idle, of a core", "idle_cpu", "%", None),
        ("one event to all: first arrival (median)", "first_ms", "ms", None),
        ("one event to all: last arrival (median)", "last_ms", "ms", None if options.postgresql else 400),
        ("one event to all: from first to last (median)", "spread_ms", "ms", None),
        ("one event to all: last arrival (worst)", "worst_ms", "ms", None),
        ("one event to all: CPU of the web process", "fan_out_cpu_ms", "ms", 100),
        ("one event to all: clients reached", "reached", "", None),
        (f"{BURST_EVENTS} in one commit: last arrival", "burst_ms", "ms", 4000),
        (f"{BURST_EVENTS} in one commit: CPU of the web process", "burst_cpu_ms", "ms", None),
        (f"{BURST_EVENTS} in one commit: clients that got all, once", "burst_reached", "", None),
        (f"{RECONNECTING_CLIENTS} reconnecting: messages", "messages", "", None),
        (f"{RECONNECTING_CLIENTS} reconnecting: reconnects", "reconnects", "", None),
        (f"{RECONNECTING_CLIENTS} reconnecting: doubled", "doubled", "", 0),
        (f"{RECONNECTING_CLIENTS} reconnecting: lost", "lost", "", 0),
    ]
    for label, name, unit, target in rows:
        mine, other = getattr(ours, name), getattr(stock, name)
        yield Figure(label, mine, unit, None if math.isnan(other) else other, target)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--postgresql", action="store_true", help="on a private PostgreSQL server, not on SQLite")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long clients come and go")
    return parser.parse_args()


def main() -> int:
    options = read_options()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ours, stock = measure(OURS, options), measure(STOCK, options)
    for kind, figures in ((OURS, ours), (STOCK, stock)):
        if figures.cut_off:
            print(f"{kind.capitalize()} was cut off after {DEADLINE_SECONDS} s; what is nan was not measured.")
    kind = "PostgreSQL" if options.postgresql else "SQLite"
    title = f"Event streams on {kind}, {options.clients} clients; baseline: the library's"
    return print_table(title, list(figures_of(ours, stock, options)))


if __name__ == "__main__":
    sys.exit(main())
