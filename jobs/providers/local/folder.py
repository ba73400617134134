"""A job's folder on this machine, and the records of its training.

`claims/JOB`, beside the folder, is the claim: if it is there, the training was started, else nothing was.
`process.json` repeats it for whoever looks into the folder; trainings of older releases have it alone. `exit.json` is
the end, final once it is there. `cancel.json` requests a stop.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cloudtrain_site.encryption import extract_secrets
from jobs.providers.base import ProviderError
from jobs.providers.emptying import remove_folder
from jobs.providers.local.files import open_regular
from jobs.providers.runner import processes, records

JOB_ID = re.compile(r"[0-9a-z]{26}")
MARKER = re.compile(r"[0-9A-Za-z_-]{1,64}")
MARKERS = "markers"
REMOVED = "removed"
#: What is longer was not written by us.
MAX_RECORD_BYTES = 64_000


@contextmanager
def disk_errors(*, nothing_created: bool = False) -> Iterator[None]:
    """Turn OSError into a ProviderError whose message names no path of ours, since a submitter may read it."""
    try:
        yield
    except OSError as error:
        message = error.strerror or str(error)
        raise ProviderError(f"The data folder can't be used: {message}.", nothing_created=nothing_created) from error


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine. A pid is reused; a pid with its start time is unique until the next boot."""

    pid: int
    start: int

    @property
    def is_alive(self) -> bool:
        start = records.start_time(self.pid)
        return start is not None and start == self.start

    def signal(self, number: int) -> None:
        processes.signal_process(self.pid, self.start, number)

    def signal_group(self, number: int) -> None:
        if self.is_alive:
            processes.signal_group(self.pid, number)


@dataclass(frozen=True, slots=True)
class Start:
    marker: str
    host: str
    boot_id: str
    started_at: datetime
    runner: Process
    trainer: Process

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        return cls(
            marker=record["marker"],
            host=record["host"],
            boot_id=record["boot_id"],
            started_at=datetime.fromisoformat(record["started_at"]),
            runner=Process(**record["runner"]),
            trainer=Process(**record["trainer"]),
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self | None:
        """Return the start as `metadata` of the job has it. None: the job never started, or not on this machine.

        A job of a release that kept no start times has processes that nobody can recognize: they count as ended.
        """
        if metadata.get("host") != records.host_name():
            return None
        nobody = {"pid": 0, "start": 0}
        unknown = {"boot_id": "", "started_at": records.now(), "runner": nobody, "trainer": nobody}
        return cls.from_record({"marker": "", "host": metadata["host"], **metadata.get("process", unknown)})

    @property
    def metadata(self) -> dict[str, Any]:
        """What the job keeps of it, in case that the folder vanishes."""
        process = {
            "boot_id": self.boot_id,
            "started_at": self.started_at.isoformat(),
            "runner": asdict(self.runner),
            "trainer": asdict(self.trainer),
        }
        return {"host": self.host, "pid": self.trainer.pid, "process": process}

    @classmethod
    def damaged(cls, written_at: datetime) -> Self:
        """Stand in for a record that a loss of power damaged: it counts as one of this machine before its restart."""
        nobody = Process(0, 0)
        return cls("", records.host_name(), "", written_at, nobody, nobody)

    @property
    def is_damaged(self) -> bool:
        return not self.trainer.pid

    @property
    def is_here(self) -> bool:
        return self.host == records.host_name()

    @property
    def is_this_boot(self) -> bool:
        return self.boot_id == records.boot_id()

    @property
    def is_alive(self) -> bool:
        """Whether it trains, or its end is still being written. Only its own machine can tell."""
        return self.is_here and self.is_this_boot and (self.runner.is_alive or self.trainer.is_alive)


@dataclass(frozen=True, slots=True)
class End:
    """The exit record. `stopped`: a stop was requested before the end; `error`: why it could not run, or its end is
    unknown.
    """

    exit_code: int | None
    stopped: bool
    error: str | None
    ended_at: datetime


class JobFolder:
    def __init__(self, jobs: Path, job_id: str) -> None:
        # The id becomes a path, so nothing but one of our ids may pass.
        if not JOB_ID.fullmatch(job_id):
            raise ProviderError(f"{job_id[:40]!r} is not a job id.", permanent=True, nothing_created=True)
        self.jobs = jobs
        self.job_id = job_id
        self.path = jobs / job_id
        self.log = self.path / records.LOG
        self.output = self.path / "output"
        self.claim = jobs / records.CLAIMS / job_id

    def exists(self) -> bool:
        return self.path.is_dir()

    def has_output(self) -> bool:
        return self.output.is_dir() and any(self.output.iterdir())

    def prepare(
        self, config: Mapping[str, Any], dataloader: Sequence[Any], checkpoint: Mapping[str, str] | None = None
    ) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        for name in (records.ACTIVE, records.CLAIMS):
            (self.jobs / name).mkdir(exist_ok=True)
        self._write_config(records.CONFIG, dict(config))
        self._write_config(records.DATALOADER, list(dataloader))
        if checkpoint:
            records.write_atomically(str(self.path / records.CHECKPOINT), checkpoint, records.open_private)

    def _write_config(self, name: str, value: Any) -> None:
        """Write a config for our user alone. One with secrets gets a masked copy, which replaces it at the end."""
        masked, secrets = extract_secrets(value)
        path, masked_path = str(self.path / name), str(self.path / f"{name}{records.MASKED}")
        if secrets:
            records.write_atomically(masked_path, masked)
        records.write_atomically(path, value, records.open_private)

    def drop_secrets(self) -> None:
        """Replace the configs by their masked copies, once the trainer no longer reads them."""
        records.drop_secrets(str(self.path))

    def link_marker(self, marker: str) -> None:
        if not MARKER.fullmatch(marker):
            raise ProviderError("The submission's marker can't be used.", permanent=True, nothing_created=True)
        (self.jobs / MARKERS).mkdir(parents=True, exist_ok=True)
        # A link appears whole or not at all.
        with suppress(FileExistsError):
            (self.jobs / MARKERS / marker).symlink_to(Path(os.pardir, self.job_id))

    def start(self) -> Start | None:
        """Return the start of the job's training, also when its trainer removed the folder. None: it has none."""
        return _read_start(self.claim) or _read_start(self.path / records.CLAIM)

    def end(self) -> End | None:
        try:
            record = _read_record(self.path / records.END)
            return End(**{**record, "ended_at": datetime.fromisoformat(record["ended_at"])})
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def record_missed_end(self, error: str, *, stopped: bool = False) -> End:
        """Write the exit record that the runner could not write, so that every later reader sees the same end.

        `stopped`: the job knows that it was asked to stop, which the folder may not.
        """
        self.drop_secrets()
        last_write = modified_at(self.log if os.path.lexists(self.log) else self.path)
        stopped = stopped or self.cancel_requested_at() is not None
        record = {"exit_code": None, "stopped": stopped, "error": error, "ended_at": last_write.isoformat()}
        path = self.path / records.END
        # On a full disk it isn't written, and is determined again the next time.
        with suppress(OSError):
            if os.path.lexists(path):  # damaged, or we would not be here
                records.write_atomically(str(path), record)
            else:
                records.write_once(str(path), record)
        return self.end() or End(None, stopped, error, last_write)

    def request_cancel(self) -> None:
        """Record the request to stop, unless there is one."""
        records.write_once(str(self.path / records.CANCEL), {"asked_at": records.now()})

    def cancel_requested_at(self) -> datetime | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return modified_at(self.path / records.CANCEL)
        return None

    def is_cleared(self) -> bool:
        """Whether only the training's output is left."""
        return self.has_output() and [path.name for path in self.path.iterdir()] == [self.output.name]

    def remove(self, marker: str = "") -> None:
        """Remove the folder and the links to it, but leave the training's output in place.

        The next call removes what a crash left half done. A known `marker` saves a scan of all markers.
        """
        removed = self.jobs / REMOVED
        # A link's target is not ours.
        if self.path.is_symlink() or removed.is_symlink():
            raise ProviderError("The job's folder is a symbolic link, so it was not touched.", permanent=True)
        target = removed / f"{self.job_id}.{secrets.token_hex(4)}"
        target.mkdir(parents=True)
        self.remove_links(marker)
        if self.has_output():
            self._set_aside(target)
        else:
            self.path.rename(target / self.job_id)
        # Leftovers of earlier crashes go as well.
        for leftover in removed.iterdir():
            with suppress(OSError):
                remove_folder(leftover)
        with suppress(OSError):
            removed.rmdir()
        if target.exists():
            raise ProviderError("Not all of the job's files could be removed. They were set aside in the data folder.")

    def _set_aside(self, target: Path) -> None:
        # The start first: without it, what is left can't be taken for a training that has no end.
        for path in sorted(self.path.iterdir(), key=lambda path: path.name != records.CLAIM):
            if path != self.output:
                path.rename(target / path.name)

    def remove_links(self, marker: str) -> None:
        """Remove the claim, and the links to the folder. A known `marker` saves a scan of all markers."""
        self.claim.unlink(missing_ok=True)
        marker_links = [self.jobs / MARKERS / marker] if MARKER.fullmatch(marker) else (self.jobs / MARKERS).glob("*")
        for link in [self.jobs / records.ACTIVE / self.job_id, *marker_links]:
            with suppress(FileNotFoundError):
                if link.readlink().name == self.job_id:
                    link.unlink()


def find_marked(jobs: Path, marker: str) -> JobFolder | None:
    """Return the folder whose training was started under `marker`, or was about to be."""
    if not MARKER.fullmatch(marker):
        return None
    try:
        return JobFolder(jobs, (jobs / MARKERS / marker).readlink().name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def _read_start(path: Path) -> Start | None:
    try:
        return Start.from_record(_read_record(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return Start.damaged(modified_at(path))


def _read_record(path: Path) -> Any:
    with open_regular(path) as file:
        return json.loads(file.read(MAX_RECORD_BYTES))


def modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
