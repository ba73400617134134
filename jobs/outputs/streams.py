"""Sending what is read in threads, so that a slow disk holds up no other request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from threading import Lock


async def streamed(pieces: Generator[bytes]) -> AsyncIterator[bytes]:
    """Yield `pieces`, each made in a thread, and close them."""
    # A client that hangs up ends the wait for a piece, and not the thread that makes it.
    lock = Lock()

    def make_next() -> bytes | None:
        with lock:
            return next(pieces, None)

    def end() -> None:
        with lock:
            pieces.close()

    try:
        while (piece := await asyncio.to_thread(make_next)) is not None:
            if piece:
                yield piece
    finally:
        await asyncio.shield(asyncio.to_thread(end))
