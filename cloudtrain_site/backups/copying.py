"""Copies the data folder while a site works in it: no link is followed, no device is read, each file has its digest.

It is copied twice, before and after the database. What the database names was there when it was copied: either the
first round has it, or it came since, and the second has it. What was removed in between is too much in the backup,
which the site's sweeps know how to remove; a row without its file they could not mend.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from cloudtrain_site.backups.manifest import BackupError, Entry
from cloudtrain_site.doctor.disks import as_size, free_bytes, mount_of
from cloudtrain_site.extensions import data_parts

PIECE = 1 << 20
#: What a file system needs beside the files.
SPARE_BYTES = 16_000_000
SPECIAL = "no regular file"


@dataclass(frozen=True, slots=True)
class Rules:
    """What of the data folder a backup has: by pattern why something is left out ("": not worth a word)."""

    left_out: Mapping[str, str]
    rewritten: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    largest: int | None = None

    def reason_for(self, path: str) -> str | None:
        return next((reason for pattern, reason in self.left_out.items() if matches(path, pattern)), None)

    def rewrite_of(self, path: str) -> Callable[[bytes], bytes] | None:
        return next((rewrite for pattern, rewrite in self.rewritten.items() if matches(path, pattern)), None)


def rules_for(without: list[str], largest: int | None, database: Path | None) -> Rules:
    """Return the rules of the registered parts. Raises BackupError for a part that there isn't."""
    choices = [name for name, part in data_parts.items() if part.is_kept and not part.rewrite]
    for name in without:
        if name not in choices:
            raise BackupError(f"There is no part {name!r} to leave out. There are: {', '.join(choices)}.")
    left_out = {place: "" for part in data_parts.values() if not part.is_kept for place in part.places}
    left_out |= {place: f"--without {name}" for name in without for place in data_parts[name].places}
    if database:
        left_out[f"{database.name}*"] = ""  # SQLite's own files beside it too
    rewritten = {place: part.rewrite for part in data_parts.values() if part.rewrite for place in part.places}
    return Rules(left_out, rewritten, largest)


def matches(path: str, pattern: str) -> bool:
    """Whether each level of `path` matches that of `pattern`, and there are as many."""
    levels, patterns = path.split("/"), pattern.split("/")
    return len(levels) == len(patterns) and all(map(fnmatchcase, levels, patterns))


@dataclass(frozen=True, slots=True)
class Found:
    path: str
    #: The descriptor of the folder that has it.
    folder: int
    name: str
    stat: os.stat_result


@contextmanager
def opened(path: str | Path, *, folder: int | None = None) -> Iterator[int]:
    """Open a folder. Raises OSError for a link to one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a folder. Raises BackupError with `refusal` while another process holds it."""
    with opened(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(refusal) from None
        yield


@dataclass(slots=True)
class TreeCopy:
    """The copy of a folder, as far as it has come."""

    source: Path
    target: Path
    rules: Rules
    files: dict[str, Entry] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def size(self) -> int:
        """Return how many bytes a copy would take now."""
        return sum(found.stat.st_size for found in self._walk() if stat.S_ISREG(found.stat.st_mode))

    def copy(self) -> None:
        """Copy what isn't there yet, and what changed since. Raises OSError."""
        self.target.mkdir(mode=0o700, exist_ok=True)
        folders = []
        for found in self._walk():
            with suppress(FileNotFoundError):  # it went meanwhile
                if stat.S_ISDIR(found.stat.st_mode):
                    folders.append(found.path)
                    self._forget(found.path, is_folder=True)
                    (self.target / found.path).mkdir(mode=0o700, exist_ok=True)
                elif stat.S_ISLNK(found.stat.st_mode):
                    self._forget(found.path)
                    self.links[found.path] = os.readlink(found.name, dir_fd=found.folder)
                else:
                    self._copy_file(found)
        self.folders = folders

    def _walk(self) -> Iterator[Found]:
        with opened(self.source) as folder:
            yield from self._walk_in(folder, "")

    def _walk_in(self, folder: int, prefix: str) -> Iterator[Found]:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            path = prefix + name
            with suppress(FileNotFoundError, NotADirectoryError):
                found = Found(path, folder, name, os.stat(name, dir_fd=folder, follow_symlinks=False))
                if self._is_left_out(found):
                    continue
                yield found
                if stat.S_ISDIR(found.stat.st_mode):
                    with opened(name, folder=folder) as inner:
                        yield from self._walk_in(inner, f"{path}/")

    def _is_left_out(self, found: Found) -> bool:
        mode, reason = found.stat.st_mode, self.rules.reason_for(found.path)
        if reason is None and stat.S_ISREG(mode) and found.stat.st_size > (self.rules.largest or float("inf")):
            reason = f"{as_size(found.stat.st_size)}, larger than --largest"
        if reason is None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            reason = SPECIAL
        if reason:
            self.left_out[found.path] = reason
        return reason is not None

    def _forget(self, path: str, *, is_folder: bool = False) -> None:
        """Remove what the first round found at `path`, where something else is now."""
        self.links.pop(path, None)
        if self.files.pop(path, None):
            self._seen.pop(path)
            (self.target / path).unlink()
        elif not is_folder and (self.target / path).is_dir():
            shutil.rmtree(self.target / path)
            for kept in (self.files, self.links, self._seen):
                for inner in [one for one in kept if one.startswith(f"{path}/")]:
                    del kept[inner]

    def _copy_file(self, found: Found) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(found.name, flags, dir_fd=found.folder), "rb", buffering=0) as file:
            now = os.fstat(file.fileno())
            if not stat.S_ISREG(now.st_mode):
                self.left_out[found.path] = SPECIAL
                return
            identity = (now.st_ino, now.st_size, now.st_mtime_ns)
            if self._seen.get(found.path) == identity:
                return
            self._forget(found.path)
            # Reading ends at the size of now: a log that grows meanwhile would have no end.
            pieces = pieces_of(file.fileno(), now.st_size)
            if rewrite := self.rules.rewrite_of(found.path):
                pieces = iter([rewrite(b"".join(pieces))])
            target = self.target / found.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            size, digest = write_pieces(target, pieces)
            os.utime(target, ns=(now.st_mtime_ns, now.st_mtime_ns))
            self.files[found.path] = Entry(size, digest, now.st_mtime_ns, bool(now.st_mode & stat.S_IXUSR))
            self._seen[found.path] = identity


def pieces_of(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the file's content, of at most `size` bytes."""
    while size and (piece := os.read(descriptor, min(size, PIECE))):
        size -= len(piece)
        yield piece


def write_pieces(path: Path, pieces: Iterator[bytes], *, is_executable: bool = False) -> tuple[int, str]:
    """Write a new file for this account alone. Returns its size and digest."""
    digest, size = hashlib.sha256(), 0
    mode = 0o700 if is_executable else 0o600
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def copy_checked(source: Path, target: Path | None, entry: Entry) -> None:
    """Copy a file of a backup, or only read it. Raises BackupError unless it is what the manifest says."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BackupError(f"The backup lacks {source}.") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        pieces = pieces_of(descriptor, os.fstat(file.fileno()).st_size)
        if target is None:
            digest, size = hashlib.sha256(), 0
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
            found = size, digest.hexdigest()
        else:
            found = write_pieces(target, pieces, is_executable=entry.is_executable)
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
    if found != (entry.size, entry.sha256):
        raise BackupError(f"The backup is damaged: {source} is not what its manifest says.")


def sync_tree(root: Path) -> None:
    """Have all of a folder on its disk. To be called once all is written: one after the other would take far longer."""
    for _, _, names, folder in os.fwalk(root):
        for name in names:
            if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                os.fsync(descriptor)
                os.close(descriptor)
        os.fsync(folder)


def sync_folder(folder: Path) -> None:
    with opened(folder) as descriptor:
        os.fsync(descriptor)


def entry_of(path: Path) -> Entry:
    """Return the entry of a file that was just made."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        now = os.fstat(file.fileno())
    return Entry(now.st_size, digest, now.st_mtime_ns)


def check_room(folder: Path, needed: int) -> None:
    """Raise BackupError when so many bytes don't fit there."""
    free = free_bytes(folder)
    if free < needed + needed // 50 + SPARE_BYTES:
        raise BackupError(
            f"{as_size(needed)} do not fit into {folder}: {mount_of(folder).point} has {as_size(free)} free."
        )
