"""Uploaded files: stored on disk as they arrive, kept for a day, fetched by what trains with them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import BodyPartReader, MultipartReader, web

from examples.fake_replicate import problems
from examples.fake_replicate.faults import Faults
from examples.fake_replicate.pages import Pager
from examples.fake_replicate.times import MICROSECOND, SECOND, now_ns, stamp

CHUNK = 65536
TOO_LARGE = {"detail": "Files must be less than 100MB in size"}
NOT_THERE = {"detail": "File not found"}


def new_id() -> str:
    return b64encode(str(uuid.uuid4()).encode()).decode().rstrip("=")


@dataclass(eq=False)
class StoredFile:
    """One file. Its content lies in `path`."""

    path: Path
    name: str
    content_type: str
    lives_ns: int
    id: str = field(default_factory=new_id)
    created_ns: int = field(default_factory=lambda: now_ns() // MICROSECOND * MICROSECOND)
    size: int = 0
    sha256: str = ""
    md5: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def expires_ns(self) -> int:
        return self.created_ns + self.lives_ns

    def body(self, base: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "content_type": self.content_type,
            "size": self.size,
            "etag": self.md5,
            "checksums": {"sha256": self.sha256, "md5": self.md5},
            "metadata": self.metadata,
            "created_at": stamp(self.created_ns, 3),
            "expires_at": stamp(self.expires_ns, 3),
            "urls": {"get": f"{base}/v1/files/{self.id}"},
        }


class Files:
    """The files of the account, by id, oldest first."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.folder = folder
        self.faults = faults
        self._kept: dict[str, StoredFile] = {}

    def __len__(self) -> int:
        return len(self.current())

    def current(self) -> list[StoredFile]:
        """Those that have not expired."""
        now = now_ns()
        return [file for file in self._kept.values() if file.expires_ns > now]

    def find(self, identifier: str) -> StoredFile:
        """Raises a 404 for one that never was, is deleted or has expired."""
        file = self._kept.get(identifier)
        if file is None or file.expires_ns <= now_ns():
            raise problems.ProblemError(404, NOT_THERE)
        return file

    def delete(self, identifier: str) -> None:
        file = self.find(identifier)
        del self._kept[file.id]
        file.path.unlink(missing_ok=True)

    def content(self, address: str, base: str) -> bytes:
        """What an input's address holds: one of our files, or a data URL. Raises ProblemError or ValueError."""
        if address.startswith("data:"):
            head, _, data = address.partition(",")
            return b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
        start = f"{base}/v1/files/"
        if not address.startswith(start):
            raise ValueError("it is not a file of this account")
        return self.find(address.removeprefix(start)).path.read_bytes()

    async def receive(self, reader: MultipartReader) -> StoredFile:
        """Store the part `content` of an upload. Raises a 413 when it is too large, a 400 when it isn't there."""
        file, metadata = None, {}
        try:
            while (part := await reader.next()) is not None:
                if isinstance(part, BodyPartReader) and part.name == "content" and file is None:
                    file = await self._store(part)
                elif isinstance(part, BodyPartReader) and part.name == "metadata":
                    metadata = json.loads(await part.text())
        except ValueError:
            raise problems.titled(400, "Bad Request", "The request body is not valid multipart data") from None
        if file is None:
            raise problems.invalid_fields(("required", "", "content is required"))
        if file.size >= self.faults.file_limit:
            file.path.unlink()
            raise problems.ProblemError(413, TOO_LARGE)
        file.metadata = metadata
        self._kept[file.id] = file
        return file

    async def _store(self, part: BodyPartReader) -> StoredFile:
        self.folder.mkdir(parents=True, exist_ok=True)
        kind = part.headers.get("Content-Type", "application/octet-stream")
        lives = round(self.faults.file_seconds * SECOND)
        file = StoredFile(self.folder / new_id(), part.filename or "file", kind, lives)
        sha256, md5 = hashlib.sha256(), hashlib.md5()
        with file.path.open("wb") as target:
            while chunk := await part.read_chunk(CHUNK):
                file.size += len(chunk)
                # One that is too large is read to its end all the same, so that the client sees the answer.
                if file.size < self.faults.file_limit:
                    target.write(chunk)
                    sha256.update(chunk)
                    md5.update(chunk)
                if speed := self.faults.upload_bytes_per_second:
                    await asyncio.sleep(len(chunk) / speed)
        file.sha256, file.md5 = sha256.hexdigest(), md5.hexdigest()
        return file


def pager(files: Files, base: str) -> Pager[StoredFile]:
    return Pager(files.current(), f"{base}/v1/files")


def download(file: StoredFile) -> web.FileResponse:
    return web.FileResponse(file.path, headers={"Content-Type": file.content_type})
