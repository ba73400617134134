"""The end of a demo: whatever ends it, every process that it started is ended too."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: The signals that end a demo.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back the signals that end a demo.

    One that came between the start of a process and the note that it is to be stopped would leave it running.
    """
    held = list[int]()
    handlers = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt


def stop(process: subprocess.Popen[Any]) -> None:
    """Stop what we started, and wait until it is gone."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
