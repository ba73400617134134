"""Upload datasets to Replicate's files, and use an earlier upload again while it lives long enough."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, RemoteCopy, TransferProgress
from jobs.providers.replicate.access import ReplicateError

if TYPE_CHECKING:
    from jobs.providers.replicate.client import Connection

#: A training may wait at Replicate before it fetches its dataset: a file that expires sooner is sent again.
MIN_LIFETIME = timedelta(minutes=15)
#: Seconds to connect, read, write and wait for a connection: Replicate stores all of it after the last byte.
TIMEOUT = (5.0, 60.0, 60.0, None)
CONTENT_TYPES = {"zip": "application/zip", "tar": "application/x-tar", "tar.gz": "application/gzip"}


class _CountingFile:
    """A file that counts what is read of it. httpx asks for its length, and then reads until its end."""

    def __init__(self, file: IO[bytes], progress: TransferProgress) -> None:
        self.file = file
        self.progress = progress

    def fileno(self) -> int:
        return self.file.fileno()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.progress.advance(len(data))
        return data


async def stage(connection: Connection, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
    """Return a file that lives long enough: the last upload, or a new one."""
    if transfer.copy is not None:
        existing = await _existing_copy(connection, transfer.copy, transfer)
        if existing is not None:
            return existing
    return await _upload(connection, transfer, progress)


async def _existing_copy(connection: Connection, copy: RemoteCopy, transfer: DatasetTransfer) -> RemoteCopy | None:
    """Return the file as it is now; None when it is gone, expires too soon, or isn't the one that was sent."""
    if not _lives_long_enough(copy):
        return None
    try:
        current = _read_copy(await connection.get(f"/v1/files/{quote(copy.external_id, safe='')}"), transfer)
    except ReplicateError as error:
        if error.code == 404:
            return None
        raise
    return current if current is not None and _lives_long_enough(current) else None


def _lives_long_enough(copy: RemoteCopy) -> bool:
    return copy.expires_at is None or copy.expires_at > datetime.now(UTC) + MIN_LIFETIME


async def _upload(connection: Connection, transfer: DatasetTransfer, progress: TransferProgress) -> RemoteCopy:
    name = f"dataset.{transfer.kind}"
    with transfer.path.open("rb") as file:
        content = (name, _CountingFile(file, progress), CONTENT_TYPES[transfer.kind])
        try:
            body = await connection.post("/v1/files", files={"content": content}, timeout=TIMEOUT)
        except ReplicateError:
            progress.advance(0)  # raises when it broke because it was stopped
            raise
    copy = _read_copy(body, transfer)
    if copy is None:
        raise ProviderError("Replicate's answer to the upload is not the dataset that was sent.")
    return copy


def _read_copy(body: Any, transfer: DatasetTransfer) -> RemoteCopy | None:
    """Read a file's JSON. Only id and address are required, but a size or checksum has to match. None: it doesn't."""
    fields = body if isinstance(body, Mapping) else {}
    urls, sums = fields.get("urls"), fields.get("checksums")
    address = urls.get("get") if isinstance(urls, Mapping) else None
    digest = sums.get("sha256") if isinstance(sums, Mapping) else None
    if not isinstance(fields.get("id"), str) or not isinstance(address, str) or not address.startswith("http"):
        return None
    if len(fields["id"]) > 200 or len(address) > 2000:
        return None
    if fields.get("size") not in (None, transfer.size) or digest not in (None, "", transfer.sha256):
        return None
    return RemoteCopy(fields["id"], address, _moment(fields.get("expires_at")))


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
