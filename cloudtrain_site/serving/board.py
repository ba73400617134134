"""What the web processes of one machine share: a small file in memory.

Each process has a slot, which says whether it takes connections, and how many it has. The bytes of the file can be
locked, too (`cloudtrain_site/limits/streams.py`): the system gives back what a process held, however it ends.
"""

from __future__ import annotations

import mmap
import os
import secrets
from typing import Self

NOT_SERVING = 0
_WIDTH = 4
_GROUP_BYTES = 8


class Board:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        shared = memoryview(mmap.mmap(descriptor, 0))
        #: By slot: NOT_SERVING, or one more than the connections.
        self._slots = shared[_GROUP_BYTES:].cast("i")
        #: A name that no other board has.
        self.group = bytes(shared[:_GROUP_BYTES]).decode()

    @classmethod
    def create(cls, slots: int) -> Self:
        """Return a new one, with no name that others could open it by."""
        descriptor = _new_file()
        os.write(descriptor, secrets.token_hex(_GROUP_BYTES // 2).encode() + bytes(slots * _WIDTH))
        return cls(descriptor)

    def serves(self, slot: int) -> bool:
        return self._slots[slot] != NOT_SERVING

    def note(self, slot: int, connections: int) -> None:
        """Say that the process takes connections, and how many it has."""
        self._slots[slot] = connections + 1

    def clear(self, slot: int) -> None:
        """Say that the process takes no connections, or has ended."""
        self._slots[slot] = NOT_SERVING

    def fewest_connections(self) -> int:
        """Return how many the process with the fewest has; 0 when none serves."""
        return min((count - 1 for count in self._slots if count != NOT_SERVING), default=0)


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("cloudtrain-web")
    import tempfile  # 1 MB, which Linux doesn't need

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - mkstemp's answer is a text
    return descriptor
