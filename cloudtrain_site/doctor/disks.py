"""Mounts and sizes, as the checks of files need them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system; its kind is unknown where Linux doesn't tell."""

    point: Path
    kind: str = "unknown"


def mount_of(path: Path) -> Mount:
    """Return the mount that holds `path`. Asks the kernel's table alone: a dead server holds up nobody."""
    found = Mount(Path("/"))
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4]))
        # Of two at the same place the later one lies on top.
        if path.is_relative_to(point) and len(point.parts) >= len(found.point.parts):
            found = Mount(point, after.split(" ")[0])
    return found


def free_bytes(folder: Path) -> int:
    """Return the bytes that this account may still write there."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def free_inodes(folder: Path) -> int | None:
    """Return how many more files may be made there; None: the file system counts none."""
    disk = os.statvfs(folder)
    return disk.f_favail if disk.f_files else None


def as_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
