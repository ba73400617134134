"""The copy of an earlier training's checkpoint that a training goes on from, made before its trainer starts.

`checkpoint.json` in the job's folder holds the `output` of the earlier training and the `path` of the checkpoint in it.
A copy, since a trainer removes old checkpoints and writes into them. Each part of the path is opened from the folder
above it and no link is followed: the earlier trainer wrote all of it, and nothing outside of its output is read.
"""

# No pathlib and no typing here: they would double the time that a start takes.
# ruff: noqa: PTH102, PTH104, PTH118, PTH119, PTH123

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING or __package__:
    from jobs.providers.runner.records import CHECKPOINT, cancelled_record, now
else:
    from records import CHECKPOINT, cancelled_record, now

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without waiting for a FIFO, and without a terminal becoming ours.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MAX_DEPTH = 32
#: Between two looks whether we are to stop.
CHUNK_BYTES = 16_000_000
#: The kernel, or the file system, can't copy by itself.
BY_HAND = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


class StoppedError(Exception):
    """SIGTERM came, which is blocked and pending."""


def place_checkpoint(folder: str, output: str) -> dict[str, object] | None:
    """Copy the checkpoint into the output. Returns the exit record of a training that can't begin; None: it may."""
    try:
        with open(os.path.join(folder, CHECKPOINT), encoding="utf-8") as file:
            order = json.load(file)
    except FileNotFoundError:
        return None
    name = os.path.basename(order["path"])
    target = os.path.join(output, name)
    draft = f"{target}.part"
    try:
        if not os.path.lexists(target):
            copy_folder(order["output"], order["path"].split("/"), draft)
            os.rename(draft, target)
    except StoppedError:
        return cancelled_record()
    except OSError as error:
        sentence = f"{name}, which the run continues from, can't be copied: {error.strerror or error}."
        return {"exit_code": None, "stopped": False, "error": sentence, "ended_at": now()}
    return None


def copy_folder(root: str, parts: list[str], target: str) -> None:
    """Copy the folder at `parts` below `root`. Raises OSError and StoppedError."""
    descriptor = os.open(root, FOLDER_FLAGS)
    try:
        for part in parts:
            if part in ("", ".", "..") or "/" in part:
                raise OSError(errno.EINVAL, "its name is none")
            deeper = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        _copy_entries(descriptor, target, MAX_DEPTH)
    finally:
        os.close(descriptor)


def _copy_entries(folder: int, target: str, depth: int) -> None:
    with contextlib.suppress(FileExistsError):  # left by a copy that was killed
        os.mkdir(target)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            _copy_file(folder, name, os.path.join(target, name))
        elif stat.S_ISDIR(status.st_mode) and depth:
            inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            try:
                _copy_entries(inner, os.path.join(target, name), depth - 1)
            finally:
                os.close(inner)


def _copy_file(folder: int, name: str, target: str) -> None:
    source = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return  # it was replaced meanwhile
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(target, flags, 0o666)  # less our umask
        try:
            while _copy_chunk(source, copy):
                pass
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy_chunk(source: int, copy: int) -> bool:
    """Copy the next bytes. False: there are no more."""
    if signal.SIGTERM in signal.sigpending():
        raise StoppedError
    try:
        # A file system that can share the blocks of two files does.
        return os.copy_file_range(source, copy, CHUNK_BYTES) > 0
    except OSError as error:
        if error.errno not in BY_HAND:
            raise
    data = os.read(source, 1_000_000)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(copy, rest) :]
    return bool(data)
