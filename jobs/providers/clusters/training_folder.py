"""A training's folder on the folder that this site and a cluster's nodes share: its records, its log, its output.

It is named by the submission's marker, so that a marker trains once, whatever the engine forgets.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from jobs.providers.base import ProviderError
from jobs.providers.emptying import remove_folder
from jobs.providers.local.files import open_regular
from jobs.providers.local.folder import MARKER, MAX_RECORD_BYTES
from jobs.providers.runner import records

OUTPUT = "output"
DATASETS = "datasets"
REMOVED = "removed"
#: For us and, on a folder with the set-group-id bit, for the group that the nodes' account has.
FOLDER_MODE = 0o770


@contextmanager
def folder_errors(*, nothing_created: bool = False) -> Iterator[None]:
    """Turn OSError into a ProviderError whose message names no path of ours."""
    try:
        yield
    except OSError as error:
        message = f"This site can't use the cluster's shared folder: {error.strerror or error}."
        raise ProviderError(message, nothing_created=nothing_created) from error


@dataclass(frozen=True, slots=True)
class Run:
    """What the runner recorded of a training. Each is None as long as it has not."""

    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    #: It was asked to end, by SIGTERM or by its supervisor's end.
    stopped: bool = False
    #: Why nothing could be started.
    error: str | None = None

    @classmethod
    def from_records(cls, start: Any, end: Any) -> Self:
        """Read the runner's records; what is damaged or forged counts as not recorded."""
        start, end = (record if isinstance(record, Mapping) else {} for record in (start, end))
        code, error = end.get("exit_code"), end.get("error")
        return cls(
            started_at=_moment(start.get("started_at") or end.get("started_at")),
            ended_at=_moment(end.get("ended_at")),
            exit_code=code if isinstance(code, int) else None,
            stopped=end.get("stopped") is True,
            error=error[:1000] if isinstance(error, str) and error else None,
        )

    @property
    def seconds(self) -> float | None:
        """How long it ran; 0 for one that was never started; None while it isn't known."""
        if self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds()) if self.started_at else 0.0


class TrainingFolder:
    def __init__(self, shared: Path, marker: str) -> None:
        # The marker becomes a path.
        if not MARKER.fullmatch(marker):
            raise ProviderError("The submission's marker can't be used.", permanent=True, nothing_created=True)
        self.shared = shared
        self.path = shared / marker
        self.log = self.path / records.LOG
        self.output = self.path / OUTPUT

    def exists(self) -> bool:
        return self.path.is_dir()

    def prepare(self) -> None:
        """Make the folder, which a node takes as the proof that it sees what we see."""
        for path in (self.path, self.output):
            with suppress(FileExistsError):
                path.mkdir()
                path.chmod(FOLDER_MODE | (path.stat().st_mode & 0o2000))

    def run(self) -> Run:
        return Run.from_records(self._record(records.CLAIM), self._record(records.END))

    def _record(self, name: str) -> Any:
        try:
            return json.loads(self.read(name, MAX_RECORD_BYTES))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file for its owner alone, from its first byte on, whole or not at all."""
        descriptor, draft = tempfile.mkstemp(prefix=f"{name}.", dir=self.path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(draft).rename(self.path / name)
        except OSError:
            Path(draft).unlink(missing_ok=True)
            raise

    def read(self, name: str, limit: int) -> bytes:
        with open_regular(self.path / name) as file:
            return file.read(limit)

    def request_cancel(self) -> None:
        """Keep a training that has not begun from beginning, whatever the engine does."""
        if self.exists():
            records.write_once(str(self.path / records.CANCEL), {"asked_at": records.now()})

    def has_output(self) -> bool:
        return self.output.is_dir() and any(self.output.iterdir())

    def remove(self) -> None:
        """Remove all but the output: that cost money to make. The next call removes what a crash left."""
        if self.path.is_symlink() or not self.exists():
            return
        target = self.shared / REMOVED / f"{self.path.name}.{secrets.token_hex(4)}"
        target.mkdir(parents=True)
        if self.has_output():
            for path in self.path.iterdir():
                if path != self.output:
                    path.rename(target / path.name)
        else:
            self.path.rename(target / self.path.name)
        remove_folder(target)


def require(shared: Path) -> None:
    """Raise ProviderError when the shared folder isn't there: a folder made in its place would be no shared one."""
    if not shared.is_dir():
        raise ProviderError("The shared folder is missing on this machine. Mount it.", nothing_created=True)


@contextmanager
def probe(shared: Path) -> Iterator[Path]:
    """Write a file on the shared folder, for the block. Raises ProviderError when that fails."""
    require(shared)
    with (
        folder_errors(nothing_created=True),
        tempfile.NamedTemporaryFile(dir=shared, prefix=".probe-", buffering=0) as file,
    ):
        file.write(b"0")
        yield Path(file.name)


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else None
