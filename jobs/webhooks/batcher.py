"""One thread takes the web process's deliveries in: those together that wait at the same moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue

from django.db import connection

from jobs.webhooks import inbox
from jobs.webhooks.inbox import IncomingDelivery

#: Deliveries a commit at most.
MAX_DELIVERIES_PER_COMMIT = 25
#: In a rush there is one commit in so long: it costs more than what else is done for one of them.
GATHER_SECONDS = 0.012
#: The connection is given back when none has come for so long.
IDLE_SECONDS = 1.0

_Waiting = tuple[IncomingDelivery, "asyncio.Future[None]"]


class DeliveryBatcher:
    """Where deliveries wait. A connection is kept as long as they come: to make one costs as much as to keep ten."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Waiting] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last_batch_at = float("-inf")

    async def process(self, incoming: IncomingDelivery) -> None:
        """Return when the delivery was taken in, or could not be: the delivery tells."""
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
            inbox.process_batch(batch)
            if any(incoming.error is not None for incoming in batch):
                connection.close()  # it may be broken
            # The loop is closed when the server was told to end and did not wait.
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
        # Whoever came while the ones before were kept has waited long enough, when that took long.
        pause = self._last_batch_at + GATHER_SECONDS - time.monotonic()
        if pause > 0 and inbox.is_burst() and self._waiting.qsize() < MAX_DELIVERIES_PER_COMMIT - 1:
            time.sleep(pause)
        with suppress(Empty):
            for _ in range(MAX_DELIVERIES_PER_COMMIT - 1):
                yield self._waiting.get_nowait()


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        # Its sender may have gone away meanwhile.
        if not future.done():
            future.set_result(None)
