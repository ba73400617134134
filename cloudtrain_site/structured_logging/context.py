"""Fields that every log line of a block has."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self


class _Layer:
    """One entered `LogContext`, and its owner."""

    __slots__ = ("context", "is_closed", "owner")

    def __init__(self, context: LogContext) -> None:
        self.context = context
        self.owner = _current_owner()
        self.is_closed = False


_layers: ContextVar[tuple[_Layer, ...]] = ContextVar("log_context", default=())


def _current_owner() -> int:
    """Return the id of the running task, or outside of a task that of the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return id(task) if task else threading.get_ident()


class LogContext:
    """Adds fields to every line that is logged inside its `with` or `async with` block, and to no other.

    Blocks nest; the innermost value of a field wins. Other tasks and threads never see the fields, but a task that is
    started inside the block keeps them to its end. A field named `correlation_id` sets the line's id.
    """

    def __init__(self, /, **fields: Any) -> None:
        self.fields = fields

    def __enter__(self) -> Self:
        _layers.set((*_layers.get(), _Layer(self)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # By identity and not by token: generators may exit their blocks in another order than they entered them.
        layers = _layers.get()
        for index in reversed(range(len(layers))):
            if layers[index].context is self:
                # Another task closes an abandoned async generator; its owner's copy must see that the block has ended.
                layers[index].is_closed = True
                _layers.set(layers[:index] + layers[index + 1 :])
                return

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def context_fields() -> dict[str, Any]:
    """Return the fields of the caller's blocks, the innermost last."""
    fields: dict[str, Any] = {}
    layers = _layers.get()
    still_open = [layer for layer in layers if not (layer.is_closed and layer.owner == _current_owner())]
    if len(still_open) < len(layers):
        _layers.set(tuple(still_open))  # a task that starts later would inherit the closed ones
    for layer in still_open:
        fields.update(layer.context.fields)
    return fields
