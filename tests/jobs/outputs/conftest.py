"""Trainings with files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.models import Job
from jobs.outputs.store import folder_of
from jobs.statuses import JobStatus


def png(width: int = 4, height: int = 4, *, claimed: tuple[int, int] | None = None) -> bytes:
    """Return a grey PNG; one that claims other sides than it has, if `claimed`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    sides = claimed or (width, height)
    header = struct.pack(">IIBBBBB", *sides, 8, 0, 0, 0, 0)
    rows = b"".join(b"\x00" + b"\x80" * width for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def trained(make_job: Callable[..., Job], settings: Any, tmp_path: Path) -> Callable[..., Job]:
    """Make a job of this machine whose training wrote `files`, by path; it has ended unless the test says otherwise."""
    settings.DATA_DIR = tmp_path

    def make(files: dict[str, bytes] | None = None, **fields: Any) -> Job:
        job = make_job(**{"provider": "local", "status": JobStatus.COMPLETED, **fields})
        job.external_id = job.pk
        job.save()
        output = output_of(job, tmp_path)
        output.mkdir(parents=True)
        for path, content in (files or {}).items():
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            (output / path).write_bytes(content)
        assert folder_of(job)
        return job

    return make


def output_of(job: Job, data: Path) -> Path:
    return data / "jobs" / job.pk / "output"
