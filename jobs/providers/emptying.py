"""Removing folders that a trainer filled: no link is followed, and no depth exhausts descriptors or the stack."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Folders in each other that are removed in one go: each takes a descriptor and a call. `shutil.rmtree` has no bound.
LEVELS = 64


def empty_folder(top: int, until: float) -> bool:
    """Remove all that is in the folder, the deepest first: a removal that is cut leaves whole folders.

    `until` is a time of `time.monotonic`. False: it is over. Raises OSError for what can't be removed.
    """
    while names := os.listdir(top):
        if not all(_remove(top, name, top, LEVELS, until) for name in names):
            return False
    return True


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, unless somebody did meanwhile. Raises OSError."""
    try:
        descriptor = os.open(path, FOLDER_FLAGS)
    except FileNotFoundError:
        return
    try:
        empty_folder(descriptor, float("inf"))
    finally:
        os.close(descriptor)
    path.rmdir()


def _remove(folder: int, name: str, top: int, levels: int, until: float) -> bool:
    """Remove a file, a link or a folder with all that is in it; one that is too deep is moved up to `top`."""
    if time.monotonic() > until:
        return False
    try:
        os.unlink(name, dir_fd=folder)
        return True
    except IsADirectoryError:
        pass
    if not levels:
        os.rename(name, f".removed-{secrets.token_hex(8)}", src_dir_fd=folder, dst_dir_fd=top)
        return True
    inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
    try:
        if not all(_remove(inner, one, top, levels - 1, until) for one in os.listdir(inner)):  # noqa: PTH208 - a descriptor
            return False
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)
    return True
