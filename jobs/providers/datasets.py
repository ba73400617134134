"""How a dataset gets to a provider: before its training is asked for, and as often as it takes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable


class StoppedError(Exception):
    """Nobody wants the transfer any more."""


@dataclass(frozen=True, slots=True)
class RemoteCopy:
    """A dataset as a provider has it. `address` is what its training is told; None: it does not expire."""

    external_id: str
    address: str
    expires_at: datetime | None = None


@dataclass
class TransferProgress:
    """How far a transfer is, for those who watch it, and how they stop it; from any thread."""

    #: What there is to do, in bytes; the provider may know better than the caller.
    total: int
    done: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def advance(self, count: int) -> None:
        """So many bytes more. Raises StoppedError when it was stopped."""
        if self._stopped.is_set():
            raise StoppedError
        self.done += count

    def stop(self) -> None:
        """Have the next `advance` raise."""
        self._stopped.set()

    @property
    def percent(self) -> float:
        """What is done, of 100; all of it only when the provider has said so."""
        return min(99.0, round(100 * self.done / self.total, 1)) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class DatasetTransfer:
    """A job's dataset, to be brought to its provider."""

    job_id: str
    path: Path
    name: str
    kind: str
    size: int
    unpacked_size: int
    sha256: str
    #: What the provider had of it when it was last used.
    copy: RemoteCopy | None = None


@runtime_checkable
class StagesDatasets(Protocol):
    """A provider whose trainings can have an uploaded dataset."""

    #: What a job's stage is called meanwhile.
    staging: str

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        """See to it that the provider has the dataset; costs nothing, and may be done again at any time.

        Raises ProviderError, StoppedError when `progress` was stopped, and nothing else.
        """
