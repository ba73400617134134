"""Runs a fake: in a thread of its own for tests, or as the main thing of a process."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.fake_replicate import api
from tests.fake_replicate.faults import Faults
from tests.fake_replicate.gate import gate
from tests.fake_replicate.lives import begin, finish, write_log
from tests.fake_replicate.predictions import ENDED, Prediction, Predictions, Script
from tests.fake_replicate.trainer import split_command
from tests.fake_replicate.webhooks import Delivery
from tests.fake_replicate.world import WORLD, RequestLog, World

HOST = "127.0.0.1"
TRAINER = "python -m jobs.sample_trainer"
LONGEST_BODY = 20_000_000
START_SECONDS = 10.0

Result = TypeVar("Result")


def make_app(world: World) -> web.Application:
    app = web.Application(middlewares=[gate], client_max_size=LONGEST_BODY)
    app[WORLD] = world
    app.add_routes(api.routes)
    return app


async def serve(world: World, port: int, ready: Callable[[], None], ending: asyncio.Event) -> None:
    """Serve until `ending` is set. `ready` is called as soon as the address is known and open."""
    runner = web.AppRunner(make_app(world), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port, backlog=1024)
        await site.start()
        world.url = world.webhooks.base = f"http://{HOST}:{runner.addresses[0][1]}"
        ready()
        await ending.wait()
    finally:
        await world.close()
        await runner.cleanup()


class FakeReplicate:
    """A running fake. Use it as a context manager, or call `stop`."""

    def __init__(self, world: World, keeps_data: bool) -> None:
        self.world = world
        self._keeps_data = keeps_data
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-replicate", daemon=True)

    @classmethod
    def start(
        cls,
        *,
        token: str | None = None,
        trainer: str = TRAINER,
        script: Script | None = None,
        latency: float = 0.0,
        data: Path | None = None,
        parallel: int = 4,
        port: int = 0,
    ) -> Self:
        """Start one on the loopback address. With a `script`, predictions live without a process."""
        folder = data or Path(tempfile.mkdtemp(prefix="fake-replicate-"))
        world = World(
            token=token,
            trainer=split_command(trainer),
            script=script,
            latency=latency,
            data=folder,
            parallel=parallel,
        )
        fake = cls(world, keeps_data=data is not None)
        fake._port = port
        fake._thread.start()
        if not fake._ready.wait(START_SECONDS):
            raise TimeoutError("the fake Replicate did not start")
        return fake

    _port = 0

    def stop(self) -> None:
        """End it, and the processes that it started."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(START_SECONDS)
        if not self._keeps_data:
            shutil.rmtree(self.world.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address without a path: what REPLICATE_BASE_URL holds."""
        return self.world.url

    @property
    def token(self) -> str:
        return self.world.token

    @property
    def webhook_secret(self) -> str:
        return self.world.webhooks.secret

    @property
    def predictions(self) -> Predictions:
        return self.world.predictions

    @property
    def requests(self) -> RequestLog:
        return self.world.requests

    @property
    def faults(self) -> Faults:
        return self.world.faults

    @property
    def deliveries(self) -> list[Delivery]:
        return list(self.world.webhooks.deliveries)

    @property
    def latency(self) -> float:
        return self.world.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.world.latency = seconds

    @property
    def script(self) -> Script | None:
        return self.world.script

    @script.setter
    def script(self, script: Script | None) -> None:
        self.world.script = script

    def call(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Run `function` in the server's thread, where all of its state belongs, and return its result."""

        async def run() -> Result:
            return function(*arguments, **options)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(START_SECONDS)

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Keep these as if they had been made here; nothing happens to them but by `update`."""
        self.call(self.predictions.add, *predictions)

    def update(self, identifier: str, status: str = "", *, logs: str = "", output: Any = None, error: str = "") -> None:
        """Let something happen to a prediction: more logs, its start, its end. Webhooks tell of it."""
        self.call(move, self.world, self.predictions[identifier], status, logs, output, error or None)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        await serve(self.world, self._port, self._ready.set, self._ending)


def move(world: World, prediction: Prediction, status: str, logs: str, output: Any, error: str | None) -> None:
    if status == "processing" and prediction.status == "starting":
        begin(world, prediction)
    if logs:
        write_log(world, prediction, logs)
    if status in ENDED:
        finish(world, prediction, status, output=output, error=error)
