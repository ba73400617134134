"""Archives for the tests: honest ones, and such as nobody should open."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

PICTURES = {"pictures/one.txt": b"a red toy", "pictures/two.txt": b"a blue toy"}


def make_zip(files: Mapping[Any, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of `files`, by default of two pictures."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in (files or PICTURES).items():
            # Not the time of now: the same files make the same archive.
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def make_tar(mode: str = "w", files: dict[str, bytes] | None = None, **member: Any) -> bytes:
    """A tar of `files`, by default of two pictures; with `member`, of one more that has these fields."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in (files or PICTURES).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if member:
            info = tarfile.TarInfo(member.pop("name", "odd"))
            for name, value in member.items():
                setattr(info, name, value)
            archive.addfile(info)
    return buffer.getvalue()


def make_link(target: str) -> zipfile.ZipInfo:
    """The entry of a zip that is a symbolic link; what it leads to is its content."""
    info = zipfile.ZipInfo(f"link-to-{target.strip('./')}")
    info.external_attr = 0o120777 << 16
    return info


def make_pax_bomb(size: int = 50_000_000) -> bytes:
    """A small file whose one header asks to be read into memory."""
    info = tarfile.TarInfo("bomb")
    info.type, info.size = tarfile.XHDTYPE, size
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))
    return buffer.getvalue()
