"""Ask providers in threads that nobody has to wait for.

A thread that waits for a name server or a shared folder can't be cancelled, and `asyncio.run` would wait for its end.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from cloudtrain_site.database.connections import lend_connection
from jobs.providers.base import ProviderError

T = TypeVar("T")

#: What an answer may take beyond its time.
GRACE_SECONDS = 0.5

#: The thread that asked a question last, in this process: while it hangs no other is started.
_asking: dict[str, threading.Thread] = {}


def no_answer(seconds: float) -> str:
    return f"It did not answer within {seconds:g} s."


def ask(name: str, question: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Return the answer. Raises ProviderError, also when none has come after `seconds` and GRACE_SECONDS.

    `name` is of one question to one provider. To be called outside of a transaction.
    """
    arrived: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()
    lend_connection()
    start_asking(name, question, seconds, arrived.put)
    try:
        answer = arrived.get(timeout=seconds + GRACE_SECONDS)
    except queue.Empty:
        raise ProviderError(no_answer(seconds)) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def start_asking(
    name: str, question: Callable[[], Awaitable[T]], seconds: float, deliver: Callable[[T | Exception], object]
) -> None:
    """Call `deliver` with the answer or the error, from another thread; never, when no timeout can cancel it."""
    earlier = _asking.get(name)
    if earlier is not None:
        earlier.join(GRACE_SECONDS)  # it may just be ending
        if earlier.is_alive():
            text = "An earlier check of it still hangs: its address or its shared folder does not answer."
            deliver(ProviderError(text))
            return

    async def run() -> None:
        deliver(await _answer(question, seconds))

    _asking[name] = threading.Thread(target=partial(copy_context().run, asyncio.run, run()), name=name, daemon=True)
    _asking[name].start()


async def _answer(question: Callable[[], Awaitable[T]], seconds: float) -> T | Exception:
    try:
        async with asyncio.timeout(seconds):
            return await question()
    except TimeoutError:
        return ProviderError(no_answer(seconds))
    except Exception as error:  # for the one who asked to raise
        return error
