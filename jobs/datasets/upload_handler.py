"""Receive an uploaded file as it arrives: onto the disk, counted and hashed, and never more than the limit."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from rest_framework import exceptions

from cloudtrain_site.errors import BodyTooLarge
from jobs.datasets.store import UPLOAD_LIMIT_BYTES, Received, incoming_folder

FIELD = "file"
NAME_LIMIT = 200


class UploadTooLarge(BodyTooLarge):
    default_detail = f"A dataset may have at most {UPLOAD_LIMIT_BYTES:,} bytes."


class ReceivedFile(UploadedFile):  # type: ignore[type-arg]
    def __init__(self, received: Received) -> None:
        super().__init__(None, received.name, "application/octet-stream", received.size)
        self.received = received

    def close(self) -> None:
        """Do nothing: no file is open."""


class DatasetHandler(FileUploadHandler):
    """For requests with one dataset. `discard` removes a file that was not kept."""

    #: Each chunk is one write to the disk.
    chunk_size = 1 << 20

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self.path: Path | None = None
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        """Open the file. Raises ValidationError for a second one, or another field."""
        super().new_file(field_name, *args, **kwargs)
        if field_name != FIELD or self.path is not None:
            raise exceptions.ValidationError({field_name or FIELD: f"Send one file, in the field {FIELD!r}."})
        incoming_folder().mkdir(parents=True, exist_ok=True)
        self.path = incoming_folder() / secrets.token_hex(16)
        self._file = self.path.open("xb")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write the chunk. Raises UploadTooLarge at the first byte too many."""
        self._size += len(raw_data)
        if self._size > UPLOAD_LIMIT_BYTES:
            raise UploadTooLarge
        self._digest.update(raw_data)
        if self._file is not None:
            self._file.write(raw_data)

    def file_complete(self, file_size: int) -> ReceivedFile | None:
        if self._file is None or self.path is None:
            return None
        self._file.close()
        name = "".join(letter for letter in self.file_name or "" if letter.isprintable())[:NAME_LIMIT] or "dataset"
        return ReceivedFile(Received(self.path, name, self._size, self._digest.hexdigest()))

    def upload_interrupted(self) -> None:
        self.discard()

    def discard(self) -> None:
        """Remove the file, unless it was kept."""
        if self._file is not None:
            with suppress(OSError):  # a full disk, on which what is buffered has no room either
                self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
