"""The identity of processes, and the records that a job's folder holds. The site imports them as well."""

# No pathlib and no typing here: they would double the time that a start takes.
# ruff: noqa: PTH105, PTH108, PTH116, PTH118, PTH123, PTH208
# Python 3.8 has to read it, on the nodes of a cluster.
# ruff: noqa: UP017

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import datetime, timezone

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Callable

CLAIM = "process.json"
END = "exit.json"
CANCEL = "cancel.json"
LOG = "train.log"
#: The folder that a trainer on this machine writes into.
OUTPUT = "output"
CONFIG = "config.json"
DATALOADER = "dataloader.json"
#: Which checkpoint of an earlier training is to be copied, see checkpoint.py.
CHECKPOINT = "checkpoint.json"
#: The suffix of a config's copy without secrets, which replaces it after the training.
MASKED = ".masked"
#: A folder beside the job folders, with a link for each training whose end nobody has seen.
ACTIVE = "active"
#: A folder beside them, with the start record of each job once more: a trainer cleans up its working folder alone.
CLAIMS = "claims"

#: Why a runner did not start its trainer: its job's folder was moved away, and another one put in its place.
TRAINS_ELSEWHERE = "a training of this job already runs on this machine, outside of the job's folder"

#: More than an exit record ever has.
DRAFT_BYTES = 4096


# Identity: a pid alone proves nothing, since it may have been reused.


def stat_fields(pid: int) -> list[bytes] | None:
    """Return the kernel's fields of a process, from its state on. None: it doesn't exist, or is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # A program's name may have blanks and parentheses of its own: count from the last one.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else fields


def start_time(pid: int) -> int | None:
    """Return a process's start in clock ticks since the machine's boot. None: it doesn't exist."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def boot_id() -> str:
    """Return an id that changes with every boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def host_name() -> str:
    return os.uname().nodename


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


# Records: a reader finds one whole, or not at all.


def open_private(path: str, flags: int) -> int:
    """Open a file that is our user's alone from its first byte on."""
    return os.open(path, flags, 0o600)


def open_log(path: str) -> int:
    """Open a log to append to; a link in its place is refused."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def write_draft(path: str, record: object, opener: Callable[[str, int], int] | None = None) -> str:
    """Write the record beside `path`. Returns the draft's path."""
    draft = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with open(draft, "w", encoding="utf-8", opener=opener) as file:
            json.dump(record, file, ensure_ascii=False, indent=1)
    except OSError:
        os.unlink(draft)
        raise
    return draft


def write_atomically(path: str, record: object, opener: Callable[[str, int], int] | None = None) -> None:
    os.replace(write_draft(path, record, opener), path)


def drop_secrets(folder: str) -> None:
    """Replace the configs by their masked copies, and remove the drafts that crashes left."""
    for name in (CONFIG, DATALOADER):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            os.replace(f"{path}{MASKED}", path)
    with contextlib.suppress(OSError):
        for draft in os.listdir(folder):
            if draft.startswith((f"{CONFIG}.", f"{DATALOADER}.")):
                os.unlink(os.path.join(folder, draft))


def write_once(path: str, record: object) -> bool:
    """Write the record unless there is one. False: another process was first, and its record stays."""
    draft = write_draft(path, record)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


class ExitRecord:
    """The exit record. Its space on the disk is reserved at the start, since the training itself may fill the disk."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, END)
        self.draft = f"{self.path}.{os.getpid()}"
        self.file = os.open(self.draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(self.file, b" " * DRAFT_BYTES)

    def write(self, record: dict[str, object]) -> None:
        data = json.dumps(record, indent=1).encode()
        os.pwrite(self.file, data, 0)
        os.ftruncate(self.file, len(data))
        os.fsync(self.file)
        if self._is_in_place():
            os.replace(self.draft, self.path)
        else:
            write_atomically(self.path, record)

    def _is_in_place(self) -> bool:
        """Whether the draft is still the file that we hold.

        A trainer that cleans its working folder removes it, and a restored backup puts an old copy there.
        """
        try:
            return os.path.samestat(os.stat(self.draft), os.fstat(self.file))
        except FileNotFoundError:
            return False

    def discard(self) -> None:
        os.unlink(self.draft)


def cancelled_record() -> dict[str, object]:
    """Return the exit record of a training that was cancelled before it began."""
    return {"exit_code": None, "stopped": True, "error": None, "ended_at": now()}
