"""The interface of a provider, and the values that it exchanges with us. Differences between providers end here."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar, cast, runtime_checkable

from cloudtrain_site.encryption import SecretScrubber
from jobs.providers.figures import Basis, is_cost, is_duration, is_moment
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus

logger = logging.getLogger("simpletuner.cloud.providers")

#: A scrubber that masks nothing.
NO_SECRETS = SecretScrubber()


class ProviderError(Exception):
    """The provider did not do what was asked; the message is its own.

    `permanent`: asking again will not help. `nothing_created`: a submission surely made nothing, so that it may be
    tried again; when False it may have made a training that costs money. `retry_after`: seconds to wait first.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        nothing_created: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.nothing_created = nothing_created
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """A job as it is sent to its provider."""

    job_id: str
    config: Mapping[str, Any] = field(repr=False)
    dataloader_config: Sequence[Any] = field(repr=False)
    hardware_profile: str
    #: The provider echoes it, so that a submission whose answer was lost can be found again.
    marker: str
    correlation_id: str
    tracker_run_name: str = ""
    #: The dataset's address at the provider; empty for a job without one.
    dataset: str = ""
    #: How long it takes at most, as the estimate says; None when it is not known.
    estimated_seconds: float | None = None
    #: The output of the training from which it goes on, and the path of the checkpoint in there; None: it begins anew.
    checkpoint: tuple[Path, str] | None = None

    @property
    def checkpoint_order(self) -> dict[str, str] | None:
        """Return the content of the runner's `checkpoint.json`; None: it begins anew."""
        return None if self.checkpoint is None else {"output": str(self.checkpoint[0]), "path": self.checkpoint[1]}


@dataclass(frozen=True, slots=True)
class Handle:
    """The identity of a training in a request to its provider."""

    job_id: str
    external_id: str
    #: The approximate time of submission: it bounds how far back a provider has to search.
    since: datetime | None = None
    #: What the provider said of a training that has not ended, for one that finds its own records gone.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cancel_requested_at: datetime | None = None
    #: The bytes of the log that we have, for a provider that sends only what follows.
    log_size: int = 0
    #: The job has ended; what is asked for is the rest of its log.
    has_ended: bool = False


#: The fields of a snapshot that can be no more than a number of a certain size, each with its check.
FIGURES: Mapping[str, Callable[[Any], bool]] = {
    "started_at": is_moment,
    "completed_at": is_moment,
    "billed_seconds": is_duration,
    "cost_usd": is_cost,
}
MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A training as its provider describes it at one moment. A field is None when the provider doesn't say.

    A figure that can't be true (1e300 seconds, the year 9999) is not known; it is logged, and stands in `refused`.
    """

    external_id: str
    #: None also for an unknown status: the job is then left as it is.
    status: JobStatus | None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error_message: str | None = None
    output_url: str | None = None
    cost_usd: Decimal | None = None
    #: Why nobody can tell the cost, as a sentence; empty when `cost_usd` is it, or it has cost nothing yet.
    cost_doubt: str = ""
    #: What `cost_usd` is from; None: the provider's own figure.
    basis: Basis | None = None
    progress: Progress | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: The provider's own count of seconds, and the hardware: the operator's prices turn them into a cost.
    billed_seconds: float | None = None
    hardware: str | None = None
    #: The log so far, from a provider that sends it with its answer and doesn't keep it.
    log: str | None = None
    #: The byte at which `log` begins: at most the handle's `log_size`.
    log_start: int = 0
    #: The provider has deleted input, output and log.
    data_removed: bool = False
    #: Of a completed training: the step at which it began, as its log says.
    first_step: int | None = None
    #: Of a queued training: what the provider waits for, as a sentence.
    waiting_reason: str | None = None

    def __post_init__(self) -> None:
        """Move what can't be true to the metadata."""
        figures = {name: getattr(self, name) for name in FIGURES}
        refused = {n: str(v)[:MAX_SHOWN_CHARACTERS] for n, v in figures.items() if v is not None and not FIGURES[n](v)}
        if not refused:
            return
        for name, shown in refused.items():
            _warn_of_figure(self.external_id, name, shown)
            object.__setattr__(self, name, None)
        object.__setattr__(self, "metadata", {**self.metadata, "refused": {**self.refused, **refused}})

    @property
    def refused(self) -> Mapping[str, str]:
        """The figures that can't be true, by field, as text."""
        refused: Mapping[str, str] = self.metadata.get("refused", {})
        return refused


@lru_cache(maxsize=1000)
def _warn_of_figure(external_id: str, name: str, shown: str) -> None:
    """Once for each: the same answer comes with every look at a list of trainings."""
    extra = {"external_id": external_id, "figure": name, "value": shown}
    logger.warning("A provider's figure can't be true: it is not known", extra=extra)


@dataclass(frozen=True, slots=True)
class DiscoveredTraining:
    """A training from a provider's list, which may have been started outside of this site."""

    snapshot: Snapshot
    created_at: datetime
    name: str
    config: Mapping[str, Any]
    dataloader_config: Sequence[Any]
    #: The marker that its input carries; None for a training that isn't ours, and when `data_removed`.
    marker: str | None


@dataclass(frozen=True, slots=True)
class LogSlice:
    """A piece of a log: `text` from byte `start`; the next one begins at `end`; `complete` means that no more comes."""

    text: str
    start: int
    end: int
    complete: bool


class Provider(Protocol):
    """A provider. Every method raises ProviderError, and nothing else, for a failure at the provider."""

    name: str
    #: The name shown to people.
    label: str
    #: Submitting a marker twice starts one training, so a submission that a crash interrupted may be repeated.
    once_per_marker: bool
    #: Its trainings run on the machine that submitted them, and only that machine knows their state.
    bound_to_machine: bool

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        """Start a training. An error whose `nothing_created` is False may have started it all the same."""

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        """Return the trainings that carry one of `markers`, by marker."""

    async def fetch(self, handles: Sequence[Handle]) -> Mapping[str, Snapshot | ProviderError]:
        """Return the state of each training, by job id. A training of unknown state is left out or has its error."""

    async def cancel(self, handle: Handle) -> None:
        """Ask the provider to stop a training. It has stopped only when a snapshot says so."""

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        """Return at most `limit` bytes of the log from byte `start`, with the secrets of `scrubber` masked."""

    async def delete_files(self, handle: Handle) -> None:
        """Delete the files of an ended training, but never its output: that cost money to make."""

    async def validate(self) -> str:
        """Return a sentence that says that the provider takes jobs now. Raises ProviderError when it doesn't."""

    def hardware(self) -> Sequence[str]:
        """Return the hardware profiles that a job may ask for; the first is the default."""


Ability = TypeVar("Ability")


def does(provider: Provider, protocol: Callable[..., Ability]) -> TypeGuard[Ability]:
    """Whether the provider's class has the methods of a protocol below; `isinstance` looks at each of them anew."""
    return issubclass(type(provider), cast("type", protocol))


#: A provider's answers about trainings, by job id.
Answers: TypeAlias = Mapping[str, Snapshot | ProviderError]


@runtime_checkable
class AnswersInParts(Protocol):
    """A provider that yields answers as they arrive, so that a slow one delays no other."""

    def fetch_parts(self, handles: Sequence[Handle], *, with_logs: bool = False) -> AsyncIterator[Answers]:
        """Yield the answers of `fetch` in parts. `with_logs`: each comes with its log, whatever that costs.

        Raises ProviderError when the provider as a whole can't be asked.
        """


@runtime_checkable
class Inspects(Protocol):
    """A provider that can judge a config without a request."""

    def objection(self, config: Mapping[str, Any], dataloader_config: Sequence[Any]) -> str:
        """Return why a job with this config can't be submitted; empty when it can."""

    def remarks(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Return sentences that the submitter should read."""


@runtime_checkable
class KeepsLogFiles(Protocol):
    """A provider whose trainings' logs are files that this machine may see, and that nobody else removes."""

    def remove_log(self, handle: Handle) -> bool:
        """Remove the log of an ended training. False: its folder is not here. Raises ProviderError."""


@runtime_checkable
class KeepsOutput(Protocol):
    """A provider whose trainings write into a folder that this machine may see."""

    def output_folder(self, handle: Handle) -> Path | None:
        """Return where a training writes what it makes, whether that is there or not; None: out of our sight."""


@runtime_checkable
class ResumesTrainings(KeepsOutput, Protocol):
    """A provider that gives a new training a checkpoint of an earlier one (`TrainingSpec.checkpoint`)."""

    def may_resume(self) -> bool:
        """Whether it can do so as it is set up: its trainings share a folder."""


@runtime_checkable
class DeletesOutput(Protocol):
    """A provider that deletes what a training made soon after its end, and serves it until then."""

    def serves_output(self, address: str) -> bool:
        """Whether `address` is on a host of the provider's own, so that this site may ask it."""


@runtime_checkable
class NeedsAccess(Protocol):
    """A provider that nobody can ask without an account."""

    def missing_access(self) -> str:
        """Return what this process lacks, as a sentence; empty when it lacks nothing."""


@runtime_checkable
class Discovers(Protocol):
    """A provider that can list trainings that we never submitted."""

    async def recent(self, limit: int) -> Sequence[DiscoveredTraining]:
        """Return its newest trainings, at most `limit`."""
