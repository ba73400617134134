"""One thread processes the web process's deliveries, in batches of those that wait at the same moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from django.db import connection

from cloudtrain_site.database.failures import is_lost_connection
from jobs.webhooks import inbox
from jobs.webhooks.inbox import IncomingDelivery

MAX_DELIVERIES_PER_COMMIT = 25
#: In a burst commits are at least this far apart: a commit costs more than the rest of a delivery's work.
GATHER_SECONDS = 0.012
#: The connection is closed when no delivery has come for this long.
IDLE_SECONDS = 1.0

_Waiting = tuple[IncomingDelivery, "asyncio.Future[None]"]


class DeliveryBatcher:
    """A queue of deliveries. Its connection stays open while they come: a new one costs as much as to store ten."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last_batch_at = float("-inf")

    async def process(self, incoming: IncomingDelivery) -> None:
        """Return when the delivery was processed, or failed: `incoming` has the result."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.put((incoming, future))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="webhooks", daemon=True)
            self._thread.start()
        await future

    def _serve(self) -> None:
        while True:
            waiting = [self._next(), *self._take_waiting()]
            self._last_batch_at = time.monotonic()
            batch = [incoming for incoming, _ in waiting]
            _process(batch)
            # The loop is closed when the server ended without waiting.
            with suppress(RuntimeError):
                waiting[0][1].get_loop().call_soon_threadsafe(_resolve, [future for _, future in waiting])

    def _next(self) -> _Waiting:
        try:
            return self._waiting.get(timeout=IDLE_SECONDS)
        except Empty:
            inbox.after_burst()
            connection.close()
            return self._waiting.get()

    def _take_waiting(self) -> Iterable[_Waiting]:
        # Deliveries that came while the last batch was stored have waited long enough, if that took long.
        pause = self._last_batch_at + GATHER_SECONDS - time.monotonic()
        if pause > 0 and inbox.is_burst() and self._waiting.qsize() < MAX_DELIVERIES_PER_COMMIT - 1:
            time.sleep(pause)
        with suppress(Empty):
            for _ in range(MAX_DELIVERIES_PER_COMMIT - 1):
                yield self._waiting.get_nowait()


def _process(batch: Sequence[IncomingDelivery]) -> None:
    """Process the batch, on a new connection if the kept one was lost: a restart of the database must fail nobody."""
    inbox.process_batch(batch)
    errors = [incoming.error for incoming in batch if incoming.error is not None]
    if errors:
        connection.close()  # it may be broken
    if any(map(is_lost_connection, errors)):
        for incoming in batch:
            incoming.error = None
        inbox.process_batch(batch)


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        # Its sender may have gone away meanwhile.
        if not future.done():
            future.set_result(None)
