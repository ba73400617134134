"""A folder of a training as a zip that is made while it is sent, so that it takes neither disk nor memory."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing

from jobs.outputs.folder import NotFoundError, OutputFile, OutputFolder
from jobs.outputs.serving import printable

PIECE_BYTES = 1_000_000
INCOMPLETE_NAME = "INCOMPLETE.txt"
INCOMPLETE_TEXT = (
    "These files changed or disappeared while the zip file was created. They are missing or incomplete in it:\n\n"
)
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


def zip_of(folder: OutputFolder, below: str, files: list[OutputFile]) -> Generator[bytes]:
    """Yield a zip with `files`, uncompressed: weights and images are compressed as they are.

    A file that vanishes before its turn is left out. One that grows meanwhile is there up to the size that it had; one
    that becomes shorter ends there. The last file of the zip names those that are missing or cut off, if there are any.
    """
    pipe = _Pipe()
    prefix = f"{below.strip('/')}/" if below.strip("/") else ""
    incomplete: list[str] = []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for file in files:
            for _ in _add(archive, folder, file, file.path.removeprefix(prefix), incomplete):
                yield pipe.taken()
        if incomplete:
            text = INCOMPLETE_TEXT + "".join(f"{printable(path)}\n" for path in incomplete)
            archive.writestr(_name_in_zip(archive, INCOMPLETE_NAME), text)
    yield pipe.taken()


def _name_in_zip(archive: zipfile.ZipFile, path: str) -> str:
    """Return a name that is new in the zip. Windows takes a backslash for a slash, and so "..\\.." for a way out."""
    name = path.replace("\\", "_")
    while name in archive.NameToInfo:
        name = f"_{name}"
    return name


def _add(
    archive: zipfile.ZipFile, folder: OutputFolder, file: OutputFile, path: str, incomplete: list[str]
) -> Iterator[None]:
    """Add the file as `path`; `incomplete` gets that when the file is gone or becomes shorter."""
    try:
        opened = folder.open(file.path)
    except NotFoundError:
        incomplete.append(path)
        return
    with closing(opened):
        entry = zipfile.ZipInfo(_name_in_zip(archive, path), _date_of(opened.modified))
        with archive.open(entry, "w", force_zip64=True) as target:
            start = 0
            while start < opened.size:
                piece = os.pread(opened.descriptor, min(PIECE_BYTES, opened.size - start), start)
                if not piece:
                    incomplete.append(path)
                    break
                start += len(piece)
                target.write(piece)
                yield
        yield


def _date_of(modified: float) -> tuple[int, int, int, int, int, int]:
    try:
        at = time.gmtime(modified)[:6]
    except (OverflowError, ValueError, OSError):
        return FIRST_DATE
    return min(max(at, FIRST_DATE), LAST_DATE)
