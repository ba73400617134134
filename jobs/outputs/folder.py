"""Reading a folder that a trainer writes: no link is followed, and nothing outside of it is ever read.

Every part of a path is opened from the descriptor of the folder above it, so that a folder that the trainer replaces by
a link meanwhile leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without waiting for a FIFO, and without a terminal becoming ours.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: A training that nests deeper, or writes more files, is listed up to here.
MAX_DEPTH = 32
MAX_FILES = 100_000


class NotFoundError(Exception):
    """There is no such file or folder, or it is none that may be read."""


class OutputFile(NamedTuple):
    """A file as a list has it. There may be 20,000 of them, and a dataclass takes three times as long to make."""

    #: Relative to the folder, with `/` between its parts.
    path: str
    size: int
    #: Seconds since 1970.
    modified: float


@dataclass(slots=True)
class OpenFile:
    """A regular file that is open for reading. Whoever has it closes it."""

    descriptor: int
    size: int
    modified: float

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        # A client that hangs up early ends the request before its response, which nobody has then, is read.
        self.close()


@dataclass(frozen=True, slots=True)
class OutputFolder:
    root: Path

    def exists(self) -> bool:
        return self.root.is_dir() and not self.root.is_symlink()

    def files(self, below: str = "") -> Iterator[OutputFile]:
        """Yield the regular files below the folder `below`, at most MAX_FILES, folder by folder in order of names.

        A name that is no UTF-8 is left out, since no address could name it. Raises NotFoundError without such a folder.
        """
        with self.opened(below) as descriptor:
            prefix = f"{below.strip('/')}/" if below.strip("/") else ""
            found: list[OutputFile] = []
            try:
                _walk(descriptor, prefix, MAX_DEPTH, found)
            except OSError as error:
                raise NotFoundError from error
        yield from found

    def open(self, path: str) -> OpenFile:
        """Open the regular file at `path`. Raises NotFoundError."""
        above, _, name = path.rpartition("/")
        if not _is_name(name):
            raise NotFoundError
        with self.opened(above) as folder:
            try:
                descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
            except (OSError, ValueError) as error:
                raise NotFoundError from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise NotFoundError
        return OpenFile(descriptor, status.st_size, status.st_mtime)

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Open the folder at `path`, part by part, as a descriptor. Raises NotFoundError."""
        parts = [part for part in path.strip("/").split("/") if path.strip("/")]
        if not all(map(_is_name, parts)) or len(parts) > MAX_DEPTH:
            raise NotFoundError
        descriptor = -1
        try:
            try:
                descriptor = os.open(self.root, FOLDER_FLAGS)
                for part in parts:
                    deeper = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
                    os.close(descriptor)
                    descriptor = deeper
            except (OSError, ValueError) as error:
                raise NotFoundError from error
            yield descriptor
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and "/" not in part and "\x00" not in part


def _walk(folder: int, prefix: str, depth: int, found: list[OutputFile]) -> None:
    """Add to `found`, up to MAX_FILES: a generator that hands each file through would cost as much again."""
    with os.scandir(folder) as entries:
        names = sorted((entry for entry in entries if _is_text(entry.name)), key=attrgetter("name"))
    for entry in names:
        if len(found) >= MAX_FILES:
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append(OutputFile(prefix + entry.name, status.st_size, status.st_mtime))
            elif stat.S_ISDIR(status.st_mode) and depth:
                _walk_below(folder, entry.name, prefix, depth, found)
        except OSError:  # what vanished meanwhile, or may not be read, was not there
            continue


def _walk_below(folder: int, name: str, prefix: str, depth: int, found: list[OutputFile]) -> None:
    deeper = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    try:
        _walk(deeper, f"{prefix}{name}/", depth - 1, found)
    finally:
        os.close(deeper)


def _is_text(name: str) -> bool:
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
