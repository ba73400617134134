"""Everything that one fake holds: what its parts share."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter, deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from examples.fake_replicate.catalog import make_models
from examples.fake_replicate.faults import Faults
from examples.fake_replicate.files import Files
from examples.fake_replicate.limits import Bucket
from examples.fake_replicate.predictions import (
    Prediction,
    Predictions,
    Script,
    kept_body,
    listed_json,
    live_body,
    without,
)
from examples.fake_replicate.times import SECOND
from examples.fake_replicate.webhooks import Webhooks

REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in, before anything was done about it."""

    method: str
    path: str
    query: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    at: float

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode("latin-1") for name, value in self.raw_headers}


class RequestLog:
    """The last requests to the API; how many there were is counted for all of them."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self.counts: Counter[str] = Counter()

    def add(self, request: web.BaseRequest) -> None:
        seen = Seen(request.method, request.path, request.query_string, request.raw_headers, time.monotonic())
        self._seen.append(seen)
        self.counts[f"{request.method} {shape(request.path)}"] += 1

    def count(self, method: str = "", path: str = "") -> int:
        """How many there were, of one method if it is named, and of paths like "/v1/predictions/{id}"."""
        return sum(
            number
            for key, number in self.counts.items()
            if method in ("", key.partition(" ")[0]) and path in ("", key.partition(" ")[2])
        )

    def clear(self) -> None:
        self._seen.clear()
        self.counts.clear()

    def __iter__(self) -> Iterator[Seen]:
        return iter(tuple(self._seen))

    def __len__(self) -> int:
        return sum(self.counts.values())


def shape(path: str) -> str:
    """A path with `{id}` for what differs between two of its kind."""
    parts = path.split("/")
    if len(parts) > 3 and parts[2] in ("predictions", "files"):
        parts[3] = "{id}"
    return "/".join(parts)


class World:
    """The state of the service. All of it belongs to the thread of the server's loop."""

    def __init__(
        self, *, token: str | None, trainer: list[str], script: Script | None, latency: float, data: Path, parallel: int
    ) -> None:
        self.token = token or f"r8_{secrets.token_hex(18)}"
        self.trainer = trainer
        # How predictions made from now on live; None: the trainer runs for each of them.
        self.script = script
        self.latency = latency
        self.data = data
        self.places = asyncio.Semaphore(parallel)
        self.url = ""
        self.faults = Faults()
        self.models = make_models()
        self.predictions = Predictions()
        self.files = Files(data / "files", self.faults)
        self.requests = RequestLog()
        self.webhooks = Webhooks(self.faults, self.spawn)
        self.creates = Bucket()
        self.others = Bucket()
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work` beside everything else, until the fake ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def busy(self) -> bool:
        """Whether a life is being lived or a webhook is on its way."""
        return bool(self._tasks)

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.webhooks.close()

    def age(self, seconds: float) -> None:
        """As if `seconds` had passed for all that is kept for a while: files expire, data is removed."""
        for file in self.files.current():
            file.lives_ns -= round(seconds * SECOND)
        for prediction in self.predictions:
            if prediction.kept_from is not None:
                prediction.kept_from -= seconds

    def find(self, identifier: str) -> Prediction | None:
        """The prediction, without what it is too old to keep."""
        prediction = self.predictions.get(identifier)
        if prediction is not None:
            self.forget(prediction)
        return prediction

    def forget(self, prediction: Prediction) -> None:
        """Remove what the prediction read and wrote, if it ended too long ago."""
        if not prediction.ended or prediction.data_removed or prediction.kept_from is None:
            return
        if time.monotonic() - prediction.kept_from >= self.faults.retention_seconds:
            remove_data(prediction)

    def shown(self, prediction: Prediction) -> dict[str, Any]:
        """As a GET shows it: live ones and ended ones come from different servers."""
        body = kept_body if prediction.ended else live_body
        return without(body(prediction, self.url, self.faults), self.faults.get_omits)

    def listed(self, prediction: Prediction) -> str:
        """As the list shows it, in JSON."""
        self.forget(prediction)
        return listed_json(prediction, self.url, self.faults)


def remove_data(prediction: Prediction) -> None:
    """What happens to a prediction's data when it is kept no longer."""
    prediction.data_removed = True
    prediction.input, prediction.output, prediction.logs = {}, None, ""


WORLD = web.AppKey("world", World)


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return answer_text(json.dumps(body), status, headers)


def answer_text(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer that is JSON already."""
    return web.Response(body=text.encode(), status=status, headers=headers, content_type="application/json")
