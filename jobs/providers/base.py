"""What we ask of a provider, whatever it is. What differs between providers ends at these values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, runtime_checkable

from cloudtrain_site.encryption import SecretScrubber
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus

#: Blots nothing out.
NO_SECRETS = SecretScrubber()


class ProviderError(Exception):
    """The provider did not do what was asked, in its own words.

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
    """A job as a provider gets to see it."""

    job_id: str
    config: Mapping[str, Any] = field(repr=False)
    dataloader_config: Sequence[Any] = field(repr=False)
    hardware_profile: str
    #: What the provider echoes, so that a submission whose answer was lost can be found again.
    marker: str
    correlation_id: str
    tracker_run_name: str = ""
    #: Where the provider has its dataset; empty for a job without one.
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Handle:
    """How a provider is told which of its trainings is meant."""

    job_id: str
    external_id: str
    #: About when it was submitted: tells a provider how far back to look.
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A training as its provider describes it at one moment. None: the provider doesn't say."""

    external_id: str
    #: None as well for a word that we don't know: the job is left as it is.
    status: JobStatus | None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error_message: str | None = None
    output_url: str | None = None
    cost_usd: Decimal | None = None
    progress: Progress | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: How long it ran as the provider counts it, and on what: what it costs follows from the operator's prices.
    billed_seconds: float | None = None
    hardware: str | None = None
    #: The whole log so far, of a provider that hands it out with the rest and doesn't keep it.
    log: str | None = None
    #: Input, output and log are gone at the provider.
    data_removed: bool = False


@dataclass(frozen=True, slots=True)
class DiscoveredTraining:
    """A training as a provider lists it, for jobs that were made elsewhere."""

    snapshot: Snapshot
    created_at: datetime
    name: str
    config: Mapping[str, Any]
    dataloader_config: Sequence[Any]
    #: The marker that its input carries; None for a training that isn't ours, and when `data_removed`.
    marker: str | None


@dataclass(frozen=True, slots=True)
class LogSlice:
    """A piece of a log: `text` from byte `start`; the next one begins at `end`; `complete` when no more comes."""

    text: str
    start: int
    end: int
    complete: bool


class Provider(Protocol):
    """One provider. Every verb raises ProviderError, and nothing else, for what goes wrong at the provider."""

    name: str
    #: As people know it, in messages.
    label: str
    #: Submitting one marker twice starts one training: what a crash interrupted may simply be submitted again.
    once_per_marker: bool
    #: Its trainings run on the machine that submitted them, and only that machine can tell of them.
    bound_to_machine: bool

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        """Start a training. An error whose `nothing_created` is False may have started it all the same."""

    async def find_by_marker(self, markers: Iterable[str]) -> Mapping[str, Snapshot]:
        """The trainings that carry one of `markers`, by marker."""

    async def fetch(self, handles: Sequence[Handle]) -> Mapping[str, Snapshot | ProviderError]:
        """What each training is doing now, by job id. One that can't be told is left out, or has its error."""

    async def cancel(self, handle: Handle) -> None:
        """Ask for a training to be stopped. It is stopped when a snapshot says so, and not before."""

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        """At most `limit` bytes of the log from byte `start`, with what `scrubber` knows under stars."""

    async def delete_files(self, handle: Handle) -> None:
        """Remove what is kept of an ended training, but never what it made: nobody could make that again for free."""

    async def validate(self) -> str:
        """Whether the provider would take a job now: a sentence that says so. Raises ProviderError when not."""

    def hardware(self) -> Sequence[str]:
        """The hardware profiles that a job may ask for; the first is the default."""


#: What a provider says of trainings, by job id.
Answers: TypeAlias = Mapping[str, Snapshot | ProviderError]


@runtime_checkable
class AnswersInParts(Protocol):
    """A provider that tells what it knows as it comes, so that one slow answer delays no other."""

    def fetch_parts(self, handles: Sequence[Handle], *, with_logs: bool = False) -> AsyncIterator[Answers]:
        """What `fetch` returns, in parts; `with_logs`: however dear that is, each with its log.

        Raises ProviderError when the provider as a whole can't be asked.
        """


@runtime_checkable
class Inspects(Protocol):
    """A provider that can tell without a question whether it would take a config at all."""

    def objection(self, config: Mapping[str, Any], dataloader_config: Sequence[Any]) -> str:
        """Why a job with this config could not be submitted; empty when it could."""

    def remarks(self, config: Mapping[str, Any]) -> Sequence[str]:
        """What whoever submits it should know."""


@runtime_checkable
class Discovers(Protocol):
    """A provider that can list trainings which we never submitted."""

    async def recent(self, limit: int) -> Sequence[DiscoveredTraining]:
        """Its newest trainings, at most `limit`."""
