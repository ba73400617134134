"""Untrusted archives: checked before they are stored, and unpacked so that nothing leaves the folder.

Only files and folders are accepted: a link, even one within the folder, is refused, since an entry unpacked before it
decides what it leads to.
"""

from __future__ import annotations

import gzip
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

ZIP, TAR, TAR_GZ = "zip", "tar", "tar.gz"

#: Limits of an unpacked archive. All of it is read once before it is stored.
MAX_FILES = 50_000
MAX_TOTAL_BYTES = 1_000_000_000
#: A header or a table of contents that needs a larger read is an attack on our memory.
MAX_READ_BYTES = 8_000_000
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 1000
#: Of all names together, which are kept until the last one is read.
MAX_NAME_CHARACTERS = 20_000_000
CHUNK_BYTES = 1_000_000

_DRIVE = re.compile(r"[A-Za-z]:")
_UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RecursionError,
    ValueError,
    OverflowError,
    MemoryError,
    IndexError,
    KeyError,
    OSError,
)


class ArchiveError(Exception):
    """What is wrong with an archive, as a sentence for its sender."""


@dataclass(frozen=True, slots=True)
class Contents:
    kind: str
    files: int
    unpacked_size: int


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. `info` is its library's object."""

    name: str
    size: int
    is_folder: bool
    info: Any


#: Called with the number of bytes read since the last call; may raise to stop.
Advance = Callable[[int], None]


def check(path: Path) -> Contents:
    """Read the archive to its last byte. Raises ArchiveError for one that must not be stored."""
    return _process(path, None, None)


def unpack(path: Path, folder: Path, advance: Advance) -> Contents:
    """Unpack the archive's files into `folder`. Raises ArchiveError; files unpacked before stay there."""
    folder.mkdir(parents=True, exist_ok=True)
    return _process(path, folder, advance)


def _process(path: Path, folder: Path | None, advance: Advance | None) -> Contents:
    kind = _kind_of(path)
    files = size = 0
    paths = _Paths()
    with _opened(path, kind) as archive:
        for count, member in enumerate(archive.members()):
            if count > 2 * MAX_FILES:
                raise ArchiveError("There are too many folders in the archive.")
            _refuse_name(member.name)
            paths.add(member)
            if member.size < 0:
                raise ArchiveError(f"{_shown(member.name)} has an impossible size.")
            files, size = files + (not member.is_folder), size + member.size
            if files > MAX_FILES or size > MAX_TOTAL_BYTES:
                raise ArchiveError(
                    f"An archive can have at most {MAX_FILES:,} files of {MAX_TOTAL_BYTES // 1_000_000:,} MB together."
                )
            if folder is not None:
                _write(archive, member, folder, advance)
            elif not member.is_folder:
                archive.read_through(member)
        archive.read_rest()
    paths.refuse_collisions()
    if not files:
        raise ArchiveError("The archive has no files.")
    return Contents(kind, files, size)


class _Paths:
    """Where the members of an archive belong. A file can't stand where a folder must be."""

    def __init__(self) -> None:
        #: Each path with NUL for a slash, so that a folder's content is sorted right behind it; whether it is a folder.
        self.found: list[tuple[str, bool]] = []
        self.characters = 0

    def add(self, member: Member) -> None:
        path = "\0".join(part for part in member.name.split("/") if part not in ("", "."))
        self.characters += len(path)
        if self.characters > MAX_NAME_CHARACTERS:
            raise ArchiveError("The names in the archive are too long together.")
        if path:
            self.found.append((path, member.is_folder))
        elif not member.is_folder:
            raise _file_and_folder(member.name)

    def refuse_collisions(self) -> None:
        self.found.sort()
        for (path, is_folder), (following, following_is_folder) in pairwise(self.found):
            is_both = following == path and is_folder != following_is_folder
            if is_both or (not is_folder and following.startswith(f"{path}\0")):
                raise _file_and_folder(path.replace("\0", "/"))


def _file_and_folder(name: str) -> ArchiveError:
    return ArchiveError(f"{_shown(name)} is a file and a folder at the same time.")


def _kind_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        return ZIP
    return TAR_GZ if start[:2] == b"\x1f\x8b" else TAR


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[_Zip | _Tar]:
    """Yield the archive. Errors of its library, here or in the block, become an ArchiveError."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        try:
            if kind == TAR_GZ:
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            yield (_Zip if kind == ZIP else _Tar)(_Bounded(file))
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the archive's
            raise ArchiveError("The file is not a zip, tar or tar.gz archive, or is damaged.") from error


class _Bounded:
    """A file that limits each read, and all reads together, to what an acceptable archive needs."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        #: A header has 512 bytes, and each file up to three of them.
        self.left = MAX_TOTAL_BYTES + 2_000 * MAX_FILES

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(MAX_READ_BYTES + 1 if size < 0 else min(size, MAX_READ_BYTES + 1))
        if len(data) > MAX_READ_BYTES:
            raise ValueError("a read that no honest archive needs")
        self.left -= len(data)
        if self.left < 0:
            raise ArchiveError("The archive is larger than it says.")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


class _Zip:
    def __init__(self, file: _Bounded) -> None:
        self.archive = zipfile.ZipFile(file)

    def members(self) -> Iterator[Member]:
        for info in self.archive.infolist():
            if info.flag_bits & 1:
                raise ArchiveError(f"{_shown(info.filename)} is encrypted.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(f"{_shown(info.filename)} is compressed in an unusual way. Use deflate.")
            mode = stat.S_IFMT(info.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _not_a_file(info.filename)
            name = _with_slashes(info.filename)
            yield Member(name, info.file_size, name.endswith("/"), info)

    def open(self, member: Member) -> IO[bytes]:
        source: IO[bytes] = self.archive.open(member.info)
        return source

    def read_through(self, member: Member) -> None:
        """Read the entry to its checksum."""
        with self.open(member) as source:
            while source.read(CHUNK_BYTES):
                pass

    def read_rest(self) -> None:
        """Do nothing: the table of contents was read first."""


class _Tar:
    def __init__(self, file: _Bounded) -> None:
        self.file = file
        self.archive = tarfile.open(fileobj=file, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115

    def members(self) -> Iterator[Member]:
        for info in self.archive:
            self.archive.members.clear()  # the library would keep them all
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise _not_a_file(info.name)
            yield Member(_with_slashes(info.name), info.size if info.isreg() else 0, info.isdir(), info)

    def open(self, member: Member) -> IO[bytes]:
        source = self.archive.extractfile(member.info)
        if source is None:
            raise _not_a_file(member.name)
        return cast("IO[bytes]", source)

    def read_through(self, member: Member) -> None:
        with self.open(member) as source:
            while source.read(CHUNK_BYTES):
                pass

    def read_rest(self) -> None:
        """Read to the end of the file, where a gzip has its checksum."""
        while self.file.read(CHUNK_BYTES):
            pass


def _with_slashes(name: str) -> str:
    """`name` of an archive that was made on Windows, where some programs put backslashes between folders."""
    return name.replace("\\", "/")


def _not_a_file(name: str) -> ArchiveError:
    return ArchiveError(f"{_shown(name)} is a link or a device. Only files and folders are allowed.")


def _refuse_name(name: str) -> None:
    parts = name.split("/")
    if not name or "\x00" in name or name[0] == "/" or _DRIVE.match(name) or ".." in parts:
        raise ArchiveError(f"{_shown(name)} would be unpacked outside of the archive's folder.")
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) > MAX_PATH_BYTES or any(
        len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts
    ):
        raise ArchiveError(f"The name {_shown(name)} is too long.")


def _shown(name: str) -> str:
    return repr(name[:80].encode("utf-8", "replace").decode())


def _write(archive: _Zip | _Tar, member: Member, folder: Path, advance: Advance | None) -> None:
    target = folder / member.name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise ArchiveError(f"{_shown(member.name)} would be unpacked outside of the archive's folder.")
    try:
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("wb") as file:
            while data := source.read(CHUNK_BYTES):
                file.write(data)
                if advance is not None:
                    advance(len(data))
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _file_and_folder(member.name) from error
