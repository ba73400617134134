"""The provider that trains on Replicate."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import sync_to_async

from cloudtrain_site.encryption import SecretScrubber
from jobs.models import ProviderConfig
from jobs.providers import instance_of
from jobs.providers.base import (
    NO_SECRETS,
    Answers,
    DiscoveredTraining,
    Handle,
    LogSlice,
    ProviderError,
    Snapshot,
    TrainingSpec,
)
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.providers.replicate import files
from jobs.providers.replicate.access import Access, ReplicateError, access_of
from jobs.providers.replicate.fetch import fetch_one, fetch_parts
from jobs.providers.replicate.predictions import (
    MODEL,
    PROFILES,
    is_prediction,
    markers_in,
    objection_to,
    read_discovered,
    read_snapshot,
    remarks_on,
    webhook_address,
    write_input,
)
from jobs.statuses import ACTIVE

if TYPE_CHECKING:
    from jobs.providers.replicate.client import Connection

logger = logging.getLogger("simpletuner.cloud.providers")

#: A new version of a trainer is used after this time at the latest.
VERSION_CACHE_SECONDS = 600.0
#: How far back a lost submission is searched for; Replicate deletes the input with the marker after an hour.
SEARCH_BACK = timedelta(hours=2)
MAX_PAGES = 50
#: The clocks of Replicate's endpoints differ by a little, and ours from theirs.
CLOCK_SLACK = timedelta(minutes=2)

#: What becomes of a job without a token.
FAILS = "jobs fail when their turn comes."
WAITS = "jobs wait."

#: By the provider's name, its address and the model: one account may see what another one does not.
_versions: dict[tuple[str, str, str], tuple[float, str]] = {}


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """The operator's settings: the model, empty for the profile's own; the webhook address, empty for none."""

    model: str = ""
    webhook_url: str = ""


def read_submission_settings(name: str) -> SubmissionSettings:
    config = ProviderConfig.objects.filter(name=name).first()
    return SubmissionSettings(config.model_version, config.webhook_url) if config else SubmissionSettings()


class ReplicateProvider:
    """Runs each job as a prediction of the model for its hardware profile."""

    name = "replicate"
    label = "Replicate"
    staging = "Uploading dataset"
    once_per_marker = False
    bound_to_machine = False

    def __init__(
        self,
        access: Access,
        settings: SubmissionSettings | None = None,
        name: str = "replicate",
        label: str = "Replicate",
    ) -> None:
        self.name, self.label = name, label
        self.access = access
        self.settings = settings

    @classmethod
    def from_settings(cls, name: str = "replicate") -> Self:
        """Build it from the environment or the file, without a query: a coroutine may call this."""
        label = cls.label if name == "replicate" else instance_of(name).label
        return cls(access_of(name), name=name, label=label)

    def _connect(self) -> Connection:
        """Return a client, to be opened with `async with`. Raises ReplicateError without a token."""
        # Loaded with the first request: httpx and aiohttp are 12 MB, which other processes save.
        from jobs.providers.replicate.client import Connection

        return Connection(self.access)

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        """Send the job once, over a new connection: a kept one could break in a way that leaves the outcome open."""
        settings = self.settings or await sync_to_async(read_submission_settings)(self.name)
        model = (settings.model or MODEL).replace("{profile}", spec.hardware_profile)
        body: dict[str, Any] = {"input": write_input(spec), "version": await self._version(model)}
        if settings.webhook_url:
            body["webhook"] = webhook_address(settings.webhook_url, spec.marker, self.name)
            body["webhook_events_filter"] = ["start", "completed"]
        async with self._connect() as connection:
            try:
                return read_snapshot(await connection.post("/v1/predictions", json=body))
            except ReplicateError as error:
                if error.code == 422:
                    _versions.clear()  # the version may have been withdrawn
                raise

    async def stage(self, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
        async with self._connect() as connection:
            return await files.stage(connection, transfer, progress)

    async def _version(self, model: str) -> str:
        """Return `owner/name:version`: pinned by the operator, or the newest. After an error nothing was created."""
        if ":" in model or "/" not in model:
            return model
        cached = _versions.get((self.name, self.access.base, model))
        if cached and time.monotonic() - cached[0] < VERSION_CACHE_SECONDS:
            return cached[1]
        try:
            version = f"{model}:{await self._newest_version(model)}"
        except ProviderError as error:
            raise ProviderError(
                f"The version of {model} to run could not be determined. {error}",
                permanent=error.permanent,
                nothing_created=True,
                retry_after=error.retry_after,
            ) from error
        _versions[self.name, self.access.base, model] = (time.monotonic(), version)
        return version

    async def _newest_version(self, model: str) -> str:
        async with self._connect() as connection:
            body = await connection.get(f"/v1/models/{model}/versions")
        results = body.get("results") if isinstance(body, Mapping) else None
        newest = results[0] if isinstance(results, list) and results else None
        if not isinstance(newest, Mapping) or not isinstance(newest.get("id"), str):
            raise ProviderError("Replicate lists no version of it.", permanent=True)
        return str(newest["id"])

    async def find_by_marker(self, markers: Iterable[str], *, since: datetime | None = None) -> Mapping[str, Snapshot]:
        """Search the predictions made after `since`, by default in the last two hours."""
        marker_set, snapshots = set(markers), {}
        start = (since or datetime.now(UTC) - SEARCH_BACK) - CLOCK_SLACK
        async with self._connect() as connection:
            async for item in _list_predictions(connection, MAX_PAGES, created_after=start.isoformat()):
                for marker in markers_in(item) & marker_set:
                    snapshots[marker] = read_snapshot(item)
                if len(snapshots) == len(marker_set):
                    break
        return snapshots

    async def fetch(self, handles: Sequence[Handle]) -> Answers:
        answers: dict[str, Snapshot | ProviderError] = {}
        async for part in self.fetch_parts(handles):
            answers.update(part)
        return answers

    async def fetch_parts(self, handles: Sequence[Handle], *, with_logs: bool = False) -> AsyncIterator[Answers]:
        async with self._connect() as connection:
            async for part in fetch_parts(connection, handles, with_logs=with_logs):
                yield part

    async def recent(self, limit: int) -> Sequence[DiscoveredTraining]:
        trainings: list[DiscoveredTraining] = []
        async with self._connect() as connection:
            async for item in _list_predictions(connection, -(-limit // 100)):
                if is_prediction(item):
                    trainings.append(read_discovered(item))
        return trainings[:limit]

    async def cancel(self, handle: Handle) -> None:
        """Cancel a prediction. After a refusal its state decides: an ended one needs no cancel."""
        async with self._connect() as connection:
            try:
                await connection.post(f"/v1/predictions/{handle.external_id}/cancel")
            except ReplicateError as error:
                if error.is_general and error.code is None:
                    raise
                if (await fetch_one(connection, handle)).status in ACTIVE:
                    raise

    async def read_log(
        self, handle: Handle, *, start: int = 0, limit: int = 1_000_000, scrubber: SecretScrubber = NO_SECRETS
    ) -> LogSlice:
        async with self._connect() as connection:
            snapshot = await fetch_one(connection, handle)
        data = scrubber((snapshot.log or "").encode())
        piece = data[start : start + limit].decode("utf-8", "ignore")
        end = start + len(piece.encode())
        return LogSlice(piece, start, end, complete=snapshot.status not in (None, *ACTIVE) and end >= len(data))

    async def delete_files(self, handle: Handle) -> None:
        """Do nothing: Replicate deletes the files an hour after the end."""

    def serves_output(self, address: str) -> bool:
        """Whether Replicate serves it: under its API's own origin, or from its host for files."""
        return self.access.serves(address)

    async def validate(self) -> str:
        async with self._connect() as connection:
            body = await connection.get("/v1/account")
        account = body.get("username") if isinstance(body, Mapping) else None
        return f"Replicate knows this token as {account or 'one of its accounts'}."

    async def webhook_secret(self) -> str:
        async with self._connect() as connection:
            body = await connection.get("/v1/webhooks/default/secret")
        key = body.get("key") if isinstance(body, Mapping) else None
        if not isinstance(key, str):
            raise ProviderError("Replicate did not return its webhook secret.")
        return key

    def hardware(self) -> Sequence[str]:
        return PROFILES

    def objection(self, config: Mapping[str, Any], dataloader_config: Sequence[Any]) -> str:
        return objection_to(config, dataloader_config)

    def remarks(self, config: Mapping[str, Any]) -> Sequence[str]:
        return remarks_on(config)

    def missing_access(self) -> str:
        if self.access.token:
            return ""
        end = WAITS if self.access.token_may_come else FAILS
        lacks = f"{self.access.no_token.rstrip('.')} for the web server."
        return f"{lacks} If the background processes have no token either, {end}"


async def _list_predictions(connection: Connection, pages: int, **params: str) -> AsyncIterator[Any]:
    """Yield the predictions of at most `pages` pages, newest first."""
    page = await connection.get("/v1/predictions", **params)
    for number in range(1, pages + 1):
        if not isinstance(page, Mapping) or not isinstance(page.get("results"), list):
            raise ProviderError("Replicate's list of predictions could not be read.")
        for item in page["results"]:
            yield item
        if number == pages or not page.get("next"):
            return
        page = await connection.follow(str(page["next"]))
