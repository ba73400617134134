"""The predictions that the fake holds, and how each of its servers writes one down."""

from __future__ import annotations

import asyncio
import json
import random
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from examples.fake_replicate.faults import Faults
from examples.fake_replicate.times import MICROSECOND, SECOND, now_ns, stamp

ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
ID_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26


@dataclass(frozen=True)
class Script:
    """A life without a process: seconds in `starting`, then in `processing`, with a bar of `steps` in its logs."""

    start: float = 0.0
    run: float = 0.0
    steps: int = 10
    output: Any = None


INSTANT = Script()


@dataclass(eq=False, slots=True)
class Prediction:
    """One prediction. `input` is what may be shown of it, `inputs` what the model gets, secrets and all."""

    model: str
    version: str
    input: dict[str, Any]
    inputs: dict[str, Any] = field(default_factory=dict)
    webhook: str | None = None
    webhook_events_filter: list[str] | None = None
    script: Script | None = None
    id: str = field(default_factory=lambda: "".join(random.choices(ID_LETTERS, k=ID_LENGTH)))
    status: str = "starting"
    source: str = "api"
    output: Any = None
    error: str | None = None
    created_ns: int = 0
    started_ns: int | None = None
    completed_ns: int | None = None
    deadline_ns: int | None = None
    # From when on its data is kept for a while, on the clock of the machine; None: not yet.
    kept_from: float | None = None
    data_removed: bool = False
    gets: int = 0
    stop: Callable[[], None] | None = None
    outbox: asyncio.Task[None] | None = None
    # When a webhook last told of the output or of the logs.
    last_sent_at: dict[str, float] = field(default_factory=dict)
    # What the list said last, and what it depended on.
    listed: tuple[object, str] = (None, "")
    _logs: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def logs(self) -> str:
        if len(self._logs) > 1:
            self._logs[:] = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    @logs.setter
    def logs(self, text: str) -> None:
        self._logs[:] = [text]

    def write_log(self, text: str) -> None:
        self._logs.append(text)

    @property
    def events(self) -> list[str]:
        """What its webhook is told of; without a filter that is the output and the end."""
        return self.webhook_events_filter or ["output", "completed"]

    def metrics(self, *, total: bool = True) -> dict[str, float]:
        found = {}
        if self.started_ns is not None and self.completed_ns is not None:
            found["predict_time"] = (self.completed_ns - self.started_ns) / SECOND
        if total and self.completed_ns is not None:
            found["total_time"] = (self.completed_ns - self.created_ns) / SECOND
        return found


class Predictions:
    """All of them, oldest first; each has a `created_ns` of its own, to the microsecond."""

    def __init__(self) -> None:
        self.in_order: list[Prediction] = []
        self._by_id: dict[str, Prediction] = {}
        self._moments: set[int] = set()

    def add(self, *new: Prediction) -> None:
        """Keep new ones; those without a `created_ns` were made now."""
        for prediction in new:
            self._add(prediction)

    def _add(self, prediction: Prediction) -> None:
        moment = (prediction.created_ns or now_ns()) // MICROSECOND * MICROSECOND
        while moment in self._moments:
            moment += MICROSECOND
        self._moments.add(moment)
        prediction.created_ns = moment
        self._by_id[prediction.id] = prediction
        insort(self.in_order, prediction, key=lambda other: other.created_ns)

    def __getitem__(self, identifier: str) -> Prediction:
        return self._by_id[identifier]

    def get(self, identifier: str) -> Prediction | None:
        return self._by_id.get(identifier)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(tuple(self.in_order))

    def __len__(self) -> int:
        return len(self.in_order)

    def marked(self, marker: str) -> list[Prediction]:
        """Those with `marker` in an input or in the address of the webhook: the runs that one job paid for."""
        return [one for one in self if marker in f"{one.inputs or one.input} {one.webhook}"]


def links(prediction: Prediction, base: str) -> dict[str, str]:
    address = f"{base}/v1/predictions/{prediction.id}"
    return {
        "web": f"https://replicate.com/p/{prediction.id}",
        "get": address,
        "cancel": f"{address}/cancel",
    }


def live_body(prediction: Prediction, base: str, faults: Faults) -> dict[str, Any]:
    """As the server near the machines writes it, which knows the live ones: what isn't there yet has no key."""
    body: dict[str, Any] = {
        "id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "input": prediction.input,
        "logs": prediction.logs,
        "data_removed": prediction.data_removed,
        "error": prediction.error,
        "status": prediction.status,
        "created_at": stamp(prediction.created_ns, 6),
        "urls": links(prediction, base),
    }
    later = {
        "started_at": stamp(prediction.started_ns),
        "completed_at": stamp(prediction.completed_ns),
        "output": prediction.output,
        "metrics": prediction.metrics(),
    }
    body |= later if faults.nulls else {key: value for key, value in later.items() if value not in (None, {})}
    return body | _requested_fields(prediction)


def kept_body(prediction: Prediction, base: str, faults: Faults) -> dict[str, Any]:
    """As the server with the database writes it, which knows all: every key is there, null when it has no value."""
    return {
        "id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "input": prediction.input,
        "logs": prediction.logs or None,
        "output": prediction.output,
        "data_removed": prediction.data_removed,
        "error": prediction.error,
        "status": prediction.status,
        "source": prediction.source,
        "created_at": stamp(kept_created_ns(prediction, faults), 6),
        "started_at": stamp(prediction.started_ns, 6),
        "completed_at": stamp(prediction.completed_ns, 6),
        "metrics": prediction.metrics(),
        "urls": links(prediction, base),
        "webhook_completed": None,
    } | _requested_fields(prediction)


def listed_json(prediction: Prediction, base: str, faults: Faults) -> str:
    """The item of a list. Kept until something in it changes: lists of thousands are asked for again and again."""
    depends: tuple[object, ...] = (
        prediction.status,
        prediction.started_ns,
        prediction.completed_ns,
        prediction.data_removed,
        prediction.error,
        id(prediction.input),
        id(prediction.output),
        faults.created_at_skew,
        *faults.list_omits,
    )
    if prediction.listed[0] != depends or "logs" not in faults.list_omits:
        text = json.dumps(without(kept_body(prediction, base, faults), faults.list_omits))
        prediction.listed = (depends, text)
    return prediction.listed[1]


def without(body: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    for key in keys:
        body.pop(key, None)
    return body


def kept_created_ns(prediction: Prediction, faults: Faults) -> int:
    """When the server with the database believes that it was created."""
    return prediction.created_ns + skew_ns(faults)


def skew_ns(faults: Faults) -> int:
    return round(faults.created_at_skew * 1_000_000) * MICROSECOND


def _requested_fields(prediction: Prediction) -> dict[str, Any]:
    """What the creator asked for, as far as they did."""
    fields = {
        "webhook": prediction.webhook,
        "webhook_events_filter": prediction.webhook_events_filter,
        "deadline": stamp(prediction.deadline_ns),
    }
    return {key: value for key, value in fields.items() if value is not None}
