"""A job's folder on this machine: what is kept there, and what its records say of the training.

`process.json` is the claim: the training was started if it is there, and nothing was if it isn't. `exit.json` is
the end, final once it is there. `cancel.json` says that the training is to be stopped.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cloudtrain_site.encryption import extract_secrets
from jobs.providers.base import ProviderError
from jobs.providers.local import runner as local_runner

JOB_ID = re.compile(r"[0-9a-z]{26}")
MARKER = re.compile(r"[0-9A-Za-z_-]{1,64}")
MARKERS = "markers"
REMOVED = "removed"


@contextmanager
def disk_errors(*, nothing_created: bool = False) -> Iterator[None]:
    """What the operating system refuses, as a sentence without our paths in it: a submitter may read it."""
    try:
        yield
    except OSError as error:
        message = error.strerror or str(error)
        raise ProviderError(f"The data folder can't be used: {message}.", nothing_created=nothing_created) from error


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine. A pid is given out again; a pid with its start time is not, until the next boot."""

    pid: int
    start: int

    @property
    def is_alive(self) -> bool:
        start = local_runner.start_time(self.pid)
        return start is not None and start == self.start

    def signal(self, number: int) -> None:
        """Signal it, and nobody who has its pid by now: the descriptor holds on to the process we looked at."""
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.is_alive:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)

    def signal_group(self, number: int) -> None:
        """Signal the group that it leads."""
        if self.is_alive:
            local_runner.signal_group(self.pid, number)


@dataclass(frozen=True, slots=True)
class Start:
    """The claim: which processes train, and on which machine."""

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
    def damaged(cls, written_at: datetime) -> Self:
        """For a record that can't be read, as a loss of power leaves them: of this machine, before it was restarted."""
        nobody = Process(0, 0)
        return cls("", local_runner.host_name(), "", written_at, nobody, nobody)

    @property
    def is_here(self) -> bool:
        return self.host == local_runner.host_name()

    @property
    def is_this_boot(self) -> bool:
        return self.boot_id == local_runner.boot_id()

    @property
    def is_alive(self) -> bool:
        """Whether it trains, or its end is still being written down. Only told on its own machine."""
        return self.is_here and self.is_this_boot and (self.runner.is_alive or self.trainer.is_alive)


@dataclass(frozen=True, slots=True)
class End:
    """How it ended. `stopped`: it was told to stop before it ended; `error`: why there is no exit code."""

    exit_code: int | None
    stopped: bool
    error: str | None
    ended_at: datetime


class JobFolder:
    """The folder of one job below `jobs`."""

    def __init__(self, jobs: Path, job_id: str) -> None:
        # The name of a path: whatever isn't one of our ids goes no further.
        if not JOB_ID.fullmatch(job_id):
            raise ProviderError(f"{job_id[:40]!r} is not a job id.", permanent=True, nothing_created=True)
        self.jobs = jobs
        self.job_id = job_id
        self.path = jobs / job_id
        self.log = self.path / local_runner.LOG
        self.output = self.path / "output"

    def exists(self) -> bool:
        return self.path.is_dir()

    def has_output(self) -> bool:
        return self.output.is_dir() and any(self.output.iterdir())

    def prepare(self, config: Mapping[str, Any], dataloader: Sequence[Any]) -> None:
        """Put down what the trainer reads."""
        self.output.mkdir(parents=True, exist_ok=True)
        (self.jobs / local_runner.ACTIVE).mkdir(exist_ok=True)
        self._write_config(local_runner.CONFIG, dict(config))
        self._write_config(local_runner.DATALOADER, list(dataloader))

    def _write_config(self, name: str, value: Any) -> None:
        """For our user alone. What has secrets gets a masked copy beside it, which is all that the end leaves."""
        masked, secrets = extract_secrets(value)
        path, masked_path = str(self.path / name), str(self.path / f"{name}{local_runner.MASKED}")
        if secrets:
            local_runner.write_atomically(masked_path, masked)
        local_runner.write_atomically(path, value, local_runner.open_private)

    def drop_secrets(self) -> None:
        """Leave the configs without their secrets: nobody reads them any more."""
        local_runner.drop_secrets(str(self.path))

    def link_marker(self, marker: str) -> None:
        """Let `find_marked` find this folder by `marker`."""
        if not MARKER.fullmatch(marker):
            raise ProviderError("The submission's marker can't be used.", permanent=True, nothing_created=True)
        (self.jobs / MARKERS).mkdir(parents=True, exist_ok=True)
        # A link, since it appears whole or not at all.
        with suppress(FileExistsError):
            (self.jobs / MARKERS / marker).symlink_to(Path(os.pardir, self.job_id))

    def start(self) -> Start | None:
        path = self.path / local_runner.CLAIM
        try:
            return Start.from_record(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return Start.damaged(modified_at(path))

    def end(self) -> End | None:
        try:
            record = json.loads((self.path / local_runner.END).read_bytes())
            return End(**{**record, "ended_at": datetime.fromisoformat(record["ended_at"])})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def record_missed_end(self, error: str) -> End:
        """Keep an end that nobody was there to write down, so that it is told the same way from now on."""
        self.drop_secrets()
        last_write = modified_at(self.log if self.log.exists() else self.path)
        stopped = self.cancel_requested_at() is not None
        record = {"exit_code": None, "stopped": stopped, "error": error, "ended_at": last_write.isoformat()}
        path = self.path / local_runner.END
        # On a full disk it isn't kept, and found out again the next time.
        with suppress(OSError):
            if path.exists():  # damaged, or we would not be here
                local_runner.write_atomically(str(path), record)
            else:
                local_runner.write_once(str(path), record)
        return self.end() or End(None, stopped, error, last_write)

    def request_cancel(self) -> None:
        """Write down that it is to be stopped, unless that was done before."""
        local_runner.write_once(str(self.path / local_runner.CANCEL), {"asked_at": local_runner.now()})

    def cancel_requested_at(self) -> datetime | None:
        with suppress(FileNotFoundError):
            return modified_at(self.path / local_runner.CANCEL)
        return None

    def is_cleared(self) -> bool:
        """Whether nothing is left but what the training made."""
        return self.has_output() and [path.name for path in self.path.iterdir()] == [self.output.name]

    def remove(self, marker: str = "") -> None:
        """Remove the folder and whatever leads to it, but for what the training made, which stays where it is.

        What a crash half-way leaves, the next call removes. `marker`, where it is known, saves looking at all of them.
        """
        removed = self.jobs / REMOVED
        # What a link leads to is not ours.
        if self.path.is_symlink() or removed.is_symlink():
            raise ProviderError("The job's folder is a symbolic link and is left alone.", permanent=True)
        target = removed / f"{self.job_id}.{secrets.token_hex(4)}"
        target.mkdir(parents=True)
        self._remove_links(marker)
        if self.has_output():
            self._set_aside(target)
        else:
            self.path.rename(target / self.job_id)
        # What a crash left of others goes as well.
        shutil.rmtree(removed, ignore_errors=True)
        if target.exists():
            raise ProviderError("Not all files of the job could be removed; they are set aside in the data folder.")

    def _set_aside(self, target: Path) -> None:
        # The claim first: without it, what is left can't be taken for a training that has no end.
        for path in sorted(self.path.iterdir(), key=lambda path: path.name != local_runner.CLAIM):
            if path != self.output:
                path.rename(target / path.name)

    def _remove_links(self, marker: str) -> None:
        marker_links = [self.jobs / MARKERS / marker] if MARKER.fullmatch(marker) else (self.jobs / MARKERS).glob("*")
        for link in [self.jobs / local_runner.ACTIVE / self.job_id, *marker_links]:
            with suppress(FileNotFoundError):
                if link.readlink().name == self.job_id:
                    link.unlink()


def find_marked(jobs: Path, marker: str) -> JobFolder | None:
    """The folder whose training was started, or was about to be, under `marker`."""
    if not MARKER.fullmatch(marker):
        return None
    try:
        return JobFolder(jobs, (jobs / MARKERS / marker).readlink().name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
