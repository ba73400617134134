"""The fake as tests hold it: it runs in a thread of its own, its state open to look at and to change."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from examples.fake_replicate.catalog import OWNER
from examples.fake_replicate.faults import Faults
from examples.fake_replicate.files import Files
from examples.fake_replicate.predictions import Prediction, Predictions, Script
from examples.fake_replicate.seeding import fill, move, move_all
from examples.fake_replicate.server import Server
from examples.fake_replicate.trainer import TRAINER, split_command
from examples.fake_replicate.webhooks import Delivery, make_secret
from examples.fake_replicate.world import RequestLog, World

PATIENCE_SECONDS = 10.0

Result = TypeVar("Result")


class FakeReplicate:
    """A running fake. Use it as a context manager, or call `stop`."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self._server = Server(world, port)
        self._ready = threading.Event()
        self._folder: str | None = None
        self._thread = threading.Thread(target=self._run, name="fake-replicate", daemon=True)
        self._thread.start()
        if not self._ready.wait(PATIENCE_SECONDS):
            raise TimeoutError("the fake Replicate did not start")

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
        """Start one on the loopback address. With a `script`, predictions live without a process.

        `latency` is seconds for each answer, `parallel` how many trainers run at the same time.
        """
        folder = None if data else tempfile.mkdtemp(prefix="fake-replicate-")
        world = World(
            token=token,
            trainer=split_command(trainer),
            script=script,
            latency=latency,
            data=data or Path(str(folder)),
            parallel=parallel,
        )
        fake = cls(world, port)
        fake._folder = folder
        return fake

    def stop(self) -> None:
        """End it, and the processes that it started."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(PATIENCE_SECONDS)
            assert not self._thread.is_alive(), "the fake Replicate did not stop"
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

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
    def files(self) -> Files:
        return self.world.files

    @property
    def requests(self) -> RequestLog:
        return self.world.requests

    @property
    def faults(self) -> Faults:
        return self.world.faults

    @property
    def deliveries(self) -> list[Delivery]:
        """The attempts to deliver webhooks, oldest first."""
        return list(self.world.webhooks.deliveries)

    @property
    def latency(self) -> float:
        return self.world.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.world.latency = seconds

    @property
    def script(self) -> Script | None:
        """How predictions made from now on live; None: the trainer runs for each of them."""
        return self.world.script

    @script.setter
    def script(self, script: Script | None) -> None:
        self.world.script = script

    def client(self, **options: Any) -> httpx.Client:
        """A plain client of the API below /v1, with the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        # Loading certificates for an address without TLS would take longer than most tests.
        return httpx.Client(base_url=f"{self.url}/v1", headers=headers, verify=False, **options)

    def version(self, model: str = f"{OWNER}/advanced-trainer-h100") -> str:
        """The newest version of a model, as a creation names it."""
        return f"{model}:{self.world.models[model].versions[0]}"

    def fill(self, count: int = 1, **fields: Any) -> list[Prediction]:
        """Add predictions without a life of their own, at once, as `seeding.fill` says."""
        return self.call(fill, self.world, count, **fields)

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Keep these as if they had been made here."""
        self.call(self.predictions.add, *predictions)

    def update(self, identifier: str, status: str = "", **fields: Any) -> None:
        """Let something happen to a prediction, as `seeding.move` says. Webhooks tell of it."""
        self.call(move, self.world, self.predictions[identifier], status, **fields)

    def update_all(self, identifiers: Iterable[str], per_second: float = 0, **fields: Any) -> None:
        """Begin to let the same happen to many, so many a second; it goes on after this returns."""
        self.call(lambda: self.world.spawn(move_all(self.world, list(identifiers), per_second, **fields)))

    def age(self, seconds: float) -> None:
        """As if `seconds` had passed for all that is kept for a while: files expire, data is removed."""
        self.call(self.world.age, seconds)

    def rotate_secret(self) -> None:
        """Sign webhooks with a new secret from now on."""
        self.world.webhooks.secret = make_secret()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Nobody listens at the address while the block runs; connections that are open are cut."""
        self._wait(self._server.shut())
        try:
            yield
        finally:
            self._wait(self._server.open())

    def call(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Run `function` in the server's thread, where all of its state belongs, and return its result."""

        async def run() -> Result:
            return function(*arguments, **options)

        return self._wait(run())

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        await self._server.serve(self._ready.set, self._ending)
