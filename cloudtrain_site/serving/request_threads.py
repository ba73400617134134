"""The threads in which requests are answered: a few at once, in the order in which the requests came.

Python runs one thread at a time. Twenty that take turns every few milliseconds are all late, and each change of threads
has its cost; asgiref makes a new thread for each request besides.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

#: How many requests are answered at once: while one waits for the database, another has the processor.
AT_ONCE = 4
#: A request that takes longer waits for something else, as for a provider. It keeps no place from the others.
SLOW_SECONDS = 0.1
#: How often it is seen whether requests wait behind slow ones.
LOOK_SECONDS = 0.02
#: For each slow request there may be so many further threads: a thousand at once take half a second to have theirs.
THREADS_FOR_SLOW = 2
#: A thread without work ends.
IDLE_SECONDS = 10.0


class RequestThreads:
    """For one event loop."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Call] = SimpleQueue()
        #: For the numbers of calls without a result and of threads, and for the calls that have begun.
        self._lock = threading.Lock()
        self._unfinished = self._threads = 0
        self._running: set[_Call] = set()
        self._is_watched = False

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the function's result, from a thread, in a copy of the caller's context.

        A cancelled caller waits for its end all the same: what it does for a request isn't interrupted. Raises
        RuntimeError when there is no thread, and none can be started.
        """
        call = _Call(partial(copy_context().run, function, *arguments))
        with self._lock:
            self._unfinished += 1
            self._add_threads(AT_ONCE)
            if not self._threads:
                self._unfinished -= 1
                raise RuntimeError("No thread can be started to answer a request")
            has_to_wait = self._unfinished > self._threads
        self._waiting.put(call)
        if has_to_wait and not self._is_watched:
            self._watch()
        result = asyncio.wrap_future(call.future)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            while not result.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([result])
            raise

    def _add_threads(self, most: int) -> None:
        """Start the threads that are needed, `most` at most. If the system gives no more, calls wait for the others."""
        with suppress(RuntimeError):
            while self._threads < min(most, self._unfinished):
                threading.Thread(target=self._answer_requests, name="request", daemon=True).start()
                self._threads += 1

    def _watch(self) -> None:
        """Look after the calls that wait, for as long as some do."""
        with self._lock:
            self._add_threads(self._most())
            self._is_watched = self._unfinished > self._threads
        if self._is_watched:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch)

    def _most(self) -> int:
        """Return how many threads there may be."""
        slow_since = monotonic() - SLOW_SECONDS
        return AT_ONCE + THREADS_FOR_SLOW * sum(call.began_at < slow_since for call in self._running)

    def _answer_requests(self) -> None:
        while self._answer_one():
            pass

    def _answer_one(self) -> bool:
        """Make the next call. Returns whether this thread goes on."""
        try:
            call = self._waiting.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                # A call that is about to be put there counts already.
                return self._goes_on(self._threads <= self._unfinished)
        call.began_at = monotonic()
        with self._lock:
            self._running.add(call)
        tell_result = call.make()
        with self._lock:
            self._running.discard(call)
            self._unfinished -= 1
            goes_on = self._goes_on(self._threads <= self._most())
        tell_result()  # last: with the next request its client would find this one unfinished
        return goes_on

    def _goes_on(self, is_needed: bool) -> bool:
        self._threads -= not is_needed
        return is_needed


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    began_at: float = 0.0

    def make(self) -> Callable[[], None]:
        """Call the function. Returns what tells the caller the result, or the error."""
        try:
            return partial(self.future.set_result, self.function())
        except StopIteration as error:
            # No coroutine can raise it: asyncio would leave its caller waiting, and that can't be cancelled.
            told = RuntimeError("A request's function raised StopIteration")
            told.__cause__ = error
            return partial(self.future.set_exception, told)
        except BaseException as error:
            return partial(self.future.set_exception, error)
