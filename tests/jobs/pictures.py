"""Pictures and folders as a training leaves them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from jobs.models import Job


def png(width: int = 4, height: int = 4, *, claimed: tuple[int, int] | None = None) -> bytes:
    """Return a grey PNG; one that claims other sides than it has, if `claimed`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    sides = claimed or (width, height)
    header = struct.pack(">IIBBBBB", *sides, 8, 0, 0, 0, 0)
    row, compressor = b"\x00" + b"\x80" * width, zlib.compressobj()
    rows = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def output_of(job: Job, data: Path) -> Path:
    return data / "jobs" / job.pk / "output"
