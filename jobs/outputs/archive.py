"""A folder of a training as a zip that is made while it is sent, so that it takes neither disk nor memory."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async

from jobs.outputs.folder import NotFoundError, OutputFile, OutputFolder

PIECE_BYTES = 1_000_000
#: The calendar of zip begins in 1980 and ends in 2107.
FIRST_DATE, LAST_DATE = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)


class _Pipe(io.RawIOBase):
    """Takes what the archive writes, until it is read. It has no position, so that the archive never goes back."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


def zip_of(folder: OutputFolder, below: str, files: list[OutputFile]) -> Iterator[bytes]:
    """Yield a zip with `files`, uncompressed: weights and images are compressed as they are.

    A file that vanishes before its turn is left out. One that grows meanwhile is there up to the size that it had; one
    that becomes shorter ends there.
    """
    pipe = _Pipe()
    prefix = f"{below.strip('/')}/" if below.strip("/") else ""
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for file in files:
            for _ in _add(archive, folder, file, _name_in_zip(file.path.removeprefix(prefix))):
                yield pipe.taken()
    yield pipe.taken()


def _name_in_zip(path: str) -> str:
    """Return the name of a file in the zip. Windows takes a backslash for a slash, and so "..\\.." for a way out."""
    return path.replace("\\", "_")


def _add(archive: zipfile.ZipFile, folder: OutputFolder, file: OutputFile, name: str) -> Iterator[None]:
    try:
        opened = folder.open(file.path)
    except NotFoundError:
        return
    try:
        entry = zipfile.ZipInfo(name, _date_of(opened.modified))
        with archive.open(entry, "w", force_zip64=True) as target:
            start = 0
            while start < opened.size:
                piece = os.pread(opened.descriptor, min(PIECE_BYTES, opened.size - start), start)
                if not piece:
                    break
                start += len(piece)
                target.write(piece)
                yield
        yield
    finally:
        os.close(opened.descriptor)


def _date_of(modified: float) -> tuple[int, int, int, int, int, int]:
    try:
        at = time.gmtime(modified)[:6]
    except (OverflowError, ValueError, OSError):
        return FIRST_DATE
    return min(max(at, FIRST_DATE), LAST_DATE)


async def streamed(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `pieces`, each made in a thread."""
    read_next = sync_to_async(lambda: next(pieces, None), thread_sensitive=False)
    try:
        while (piece := await read_next()) is not None:
            if piece:
                yield piece
    finally:
        close = getattr(pieces, "close", None)
        if close:
            await sync_to_async(close, thread_sensitive=False)()
