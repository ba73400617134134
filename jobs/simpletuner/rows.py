"""A row of SimpleTuner's table `jobs`, read as one of our jobs. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from ulid import ULID

from cloudtrain_site.redaction import mask_secrets, mask_text
from jobs.configs.submission import problem_with
from jobs.providers.figures import is_cost, is_moment
from jobs.providers.replicate.predictions import profile_of
from jobs.simpletuner.source import JOBS_FILE, Row
from jobs.statuses import ACTIVE, JobStatus
from jobs.validators import NAME_LIMIT, is_plain_name, made_plain

#: What becomes the error of a job of which nobody will ever hear again.
NOT_FINISHED = "was not finished when imported"
REPLICATE = "replicate"
#: This provider of SimpleTuner's writes captions and trains nothing.
CAPTIONING = "captionflow"
#: What is kept of a row's metadata beside what has a column of ours.
KEPT_METADATA = ("model", "snapshot", "upload_id", "env_name", "run_name", "target", "approval_reason")
MAX_METADATA = 20_000
#: Where a config of SimpleTuner's names the addresses at which results are published, and its own among them.
PUBLISHING, OWN_ADDRESS, UPLOAD_TOKEN = "publishing_config", "/api/cloud/", "upload_token"
PROVIDER_LIMIT, ID_LIMIT = 40, 128
UUID_LENGTH = 36


class SkippedRowError(Exception):
    """The row is no training of ours to be; the message says why."""


class BrokenRowError(Exception):
    """The row can't be read; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ReadJob:
    """A job of SimpleTuner's, as it will be stored here."""

    #: Its id there, and ours, which follows from it.
    source_id: str
    id: str
    provider: str
    external_id: str | None
    status: JobStatus
    config_name: str
    hardware: str
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    #: None: it is active, and its provider is asked about it.
    completed_at: datetime | None
    #: What SimpleTuner says that it cost, in US dollars; None: it says nothing.
    cost: Decimal | None
    error: str
    output_url: str
    #: SimpleTuner's id of its submitter; None: it has none.
    user_id: int | None
    tracker_run_name: str
    #: With its secrets.
    config: dict[str, Any] = field(repr=False)
    metadata: dict[str, Any]

    @property
    def is_active(self) -> bool:
        return self.completed_at is None


def read_job(row: Row) -> ReadJob:
    """Raises SkippedRowError and BrokenRowError."""
    provider = _text(row, "provider") or "local"
    if provider == CAPTIONING:
        raise SkippedRowError("it wrote captions and trained nothing")
    if len(provider) > PROVIDER_LIMIT or not is_plain_name(provider):
        raise BrokenRowError(f"{provider[:PROVIDER_LIMIT]!r} is not a provider")
    source_id = _text(row, "job_id")
    if not source_id:
        raise BrokenRowError("it has no job_id")
    told = _status(row)
    created_at = moment(row, "created_at")
    if created_at is None:
        raise BrokenRowError("it has no created_at")
    queued_at, started_at, completed_at = (moment(row, f"{word}_at") for word in ("queued", "started", "completed"))
    metadata = _metadata(row)
    external_id = _external_id(provider, source_id, metadata)
    status = _final_status(told, provider, external_id)
    last = max(filter(None, (created_at, queued_at, started_at)))
    return ReadJob(
        source_id=source_id,
        id=_id_of(source_id, created_at),
        provider=provider,
        external_id=external_id,
        status=status,
        config_name=_name(row, metadata, source_id),
        hardware=_hardware(provider, metadata),
        created_at=created_at,
        queued_at=queued_at or (created_at if external_id else None),
        started_at=started_at or (last if status == JobStatus.RUNNING else None),
        completed_at=None if status in ACTIVE else completed_at or last,
        cost=_cost(row),
        error=NOT_FINISHED if told in ACTIVE else mask_text(_text(row, "error_message")),
        output_url=_address(_text(row, "output_url")),
        user_id=_number(row, "user_id"),
        tracker_run_name=made_plain(_text(metadata, "tracker_run_name"))[:NAME_LIMIT],
        config=_config(metadata),
        metadata={"imported_from": f"{JOBS_FILE}:{source_id}", **_kept(metadata)},
    )


def _id_of(source_id: str, created_at: datetime) -> str:
    """Return the same id at each import: of a row that is stored already its id is taken.

    A local job's own has 8 digits, which another installation may have given too; hence its time as well.
    """
    digest = hashlib.sha256(f"{source_id}\n{created_at.isoformat()}".encode()).digest()
    milliseconds = int(created_at.timestamp() * 1000)
    return str(ULID.from_bytes(milliseconds.to_bytes(6, "big") + digest[:10])).lower()


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None or isinstance(value, bytes | bool | dict | list) else str(value).strip()


def _status(row: Row) -> JobStatus:
    text = _text(row, "status")
    if text not in JobStatus.values:
        raise BrokenRowError(f"{text[:40]!r} is not a status")
    return JobStatus(text)


def _final_status(told: JobStatus, provider: str, external_id: str | None) -> JobStatus:
    """Return the status to store. Of what was active Replicate alone can still be asked."""
    if told not in ACTIVE:
        return told
    if provider != REPLICATE or external_id is None:
        return JobStatus.FAILED
    return JobStatus.RUNNING if told == JobStatus.RUNNING else JobStatus.QUEUED


def moment(row: Row, name: str) -> datetime | None:
    """Return a column's time in UTC; None: the column is empty. Raises BrokenRowError."""
    text = _text(row, name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BrokenRowError(f"{name} is not a date: {text[:40]!r}") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not is_moment(at):
        raise BrokenRowError(f"{name} can't be true: {text[:40]}")
    return at.astimezone(UTC)


def _number(row: Row, name: str) -> int | None:
    value = row.get(name)
    return value if isinstance(value, int) else None


def _cost(row: Row) -> Decimal | None:
    text = _text(row, "cost_usd")
    if not text:
        return None
    try:
        cost = Decimal(text)
    except InvalidOperation:
        raise BrokenRowError(f"cost_usd is not a number: {text[:40]!r}") from None
    if not is_cost(cost):
        raise BrokenRowError(f"cost_usd can't be true: {text[:40]}")
    return cost.quantize(Decimal("0.0001"))


def _metadata(row: Row) -> dict[str, Any]:
    text = _text(row, "metadata") or "{}"
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenRowError("its metadata is not JSON") from None
    if not isinstance(metadata, dict):
        raise BrokenRowError("its metadata is not an object")
    problem = problem_with(metadata)
    if problem:
        raise BrokenRowError(f"its metadata can't be stored: {problem}")
    return metadata


def _external_id(provider: str, source_id: str, metadata: Mapping[str, Any]) -> str | None:
    """Return what Replicate calls it. What was still uploading has the upload's id, a UUID, and none of Replicate's."""
    if provider != REPLICATE:
        return None
    found = _text(metadata, "prediction_id") or ("" if len(source_id) == UUID_LENGTH else source_id)
    return found if 0 < len(found) <= ID_LIMIT and found.isprintable() else None


def _name(row: Row, metadata: Mapping[str, Any], source_id: str) -> str:
    names = (_text(row, "config_name"), *(_text(metadata, key) for key in ("tracker_run_name", "env_name", "run_name")))
    return made_plain(next(filter(None, names), source_id))[:NAME_LIMIT]


def _hardware(provider: str, metadata: Mapping[str, Any]) -> str:
    """Return the hardware profile. The column `hardware_type` says L40S of whatever Replicate ran."""
    profile = _text(metadata, "hardware_profile")
    if not profile and provider == REPLICATE:
        profile = profile_of(_text(metadata, "model")) or ""
    return made_plain(profile)[:PROVIDER_LIMIT]


def _address(text: str) -> str:
    """Return the address of a result: what is no address is a path of SimpleTuner's machine."""
    return mask_text(text)[:2000] if text.startswith(("https://", "http://")) else ""


def _config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that a job of SimpleTuner's own machines has, without what published to SimpleTuner itself."""
    configs = (metadata.get(key) for key in ("runtime_config", "config"))
    config: dict[str, Any] = next((one for one in configs if isinstance(one, dict)), {})
    kept = {key: value for key, value in config.items() if _option(key) != UPLOAD_TOKEN}
    for key in [key for key in kept if _option(key) == PUBLISHING]:
        entries = kept[key] if isinstance(kept[key], list) else [kept[key]]
        kept[key] = [entry for entry in entries if not _publishes_to_simpletuner(entry)]
        if not kept[key]:
            del kept[key]
    return kept


def _option(key: str) -> str:
    return key.lstrip("-").replace("-", "_")


def _publishes_to_simpletuner(entry: Any) -> bool:
    """Whether it holds an upload token: as such, or as the key of SimpleTuner's own storage."""
    text = json.dumps(entry)
    return UPLOAD_TOKEN in text or any(OWN_ADDRESS in _path(one) for one in _strings(entry))


def _path(text: str) -> str:
    try:
        return f"{urlsplit(text).path}/"
    except ValueError:
        return ""


def _strings(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _strings(item)]


def _kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = mask_secrets({key: metadata[key] for key in KEPT_METADATA if metadata.get(key)})
    return kept if len(json.dumps(kept)) <= MAX_METADATA else {}
