"""The transfer of a dataset to a provider. It precedes the submission, and may be repeated."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable


class StoppedError(Exception):
    """The transfer was stopped."""


@dataclass(frozen=True, slots=True)
class RemoteCopy:
    """A provider's copy of a dataset. `address` goes to its training; `expires_at` is None if it doesn't expire."""

    external_id: str
    address: str
    expires_at: datetime | None = None


@dataclass
class TransferProgress:
    """The progress of a transfer, and the means to stop it. Any thread may use it."""

    #: Bytes to transfer; a provider may correct the caller's figure.
    total: int
    done: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def advance(self, count: int) -> None:
        """Count `count` more bytes. Raises StoppedError when the transfer was stopped."""
        if self._stopped.is_set():
            raise StoppedError
        self.done += count

    def stop(self) -> None:
        """Make the next `advance` raise."""
        self._stopped.set()

    @property
    def percent(self) -> float:
        """The share that is done, 0 to 99: only the provider's answer completes a transfer."""
        return min(99.0, round(100 * self.done / self.total, 1)) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class DatasetTransfer:
    job_id: str
    path: Path
    name: str
    kind: str
    size: int
    unpacked_size: int
    sha256: str
    #: The provider's copy from the last use of the dataset.
    copy: RemoteCopy | None = None


@runtime_checkable
class LimitsDatasets(Protocol):
    """A provider that can't take every dataset."""

    def dataset_objection(self, size: int) -> str:
        """Return why a dataset whose archive has `size` bytes can't be taken; empty when it can. Asks nobody."""


@runtime_checkable
class StagesDatasets(Protocol):
    #: The job's stage during the transfer.
    staging: str

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        """Make sure that the provider has the dataset. This costs nothing and may be repeated.

        Raises ProviderError, StoppedError when `progress` was stopped, and nothing else.
        """
