"""Ask providers about jobs, side by side: one that hangs keeps no other's answers back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeAlias

from jobs.providers import UnknownProviderError, get_provider
from jobs.providers.base import Answers, AnswersInParts, Handle, ProviderError
from jobs.sync.async_bridge import in_parts

#: A part of a provider's answers; the error that ended them; or None when they have ended well.
Part: TypeAlias = Answers | ProviderError | None


def answers_of(handles: Mapping[str, Sequence[Handle]], *, with_logs: bool = False) -> Iterator[tuple[str, Part]]:
    """Yield the name of a provider and a part of its answers, as they come; at the end of each its error, or None."""
    return in_parts(lambda: _side_by_side(handles, with_logs)) if handles else iter(())


async def _side_by_side(handles: Mapping[str, Sequence[Handle]], with_logs: bool) -> AsyncIterator[tuple[str, Part]]:
    arrived: asyncio.Queue[tuple[str, Part]] = asyncio.Queue()

    async def ask(name: str, handles: Sequence[Handle]) -> None:
        end: Part = None
        try:
            async for part in _parts(name, handles, with_logs):
                arrived.put_nowait((name, part))
        except ProviderError as error:
            end = error
        finally:
            arrived.put_nowait((name, end))

    tasks = [asyncio.create_task(ask(name, own)) for name, own in handles.items()]
    try:
        running = len(tasks)
        while running:
            name, part = await arrived.get()
            running -= part is None or isinstance(part, ProviderError)
            yield name, part
        await asyncio.gather(*tasks)  # raises what is no ProviderError, when all others have answered
    finally:
        for task in tasks:
            task.cancel()


async def _parts(name: str, handles: Sequence[Handle], with_logs: bool) -> AsyncIterator[Answers]:
    try:
        provider = get_provider(name)
    except UnknownProviderError as unknown:
        yield {handle.job_id: unknown for handle in handles}
        return
    if not isinstance(provider, AnswersInParts):
        yield await provider.fetch(handles)
        return
    async for part in provider.fetch_parts(handles, with_logs=with_logs):
        yield part
