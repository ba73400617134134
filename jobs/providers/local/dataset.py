"""A job's dataset on this machine: its archive, unpacked into the job's folder."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudtrain_site import archives
from jobs.providers.base import ProviderError
from jobs.providers.datasets import DatasetTransfer, TransferProgress

NAME = "dataset"
PLACEHOLDER = "{dataset}"


def unpack(folder: Path, transfer: DatasetTransfer, progress: TransferProgress) -> Path:
    """Unpack the dataset into the job's folder, as a whole or not at all. Returns where it is."""
    target = folder / NAME
    if target.is_dir():
        return target
    for leftover in folder.glob(f"{NAME}.*"):
        shutil.rmtree(leftover, ignore_errors=True)  # left by an attempt that was killed
    draft = folder / f"{NAME}.{secrets.token_hex(4)}"
    progress.total = transfer.unpacked_size
    try:
        archives.unpack(transfer.path, draft, progress.advance)
        _move_into_place(draft, target)
    except archives.ArchiveError as error:
        raise ProviderError(f"The dataset can't be unpacked. {error}", permanent=True, nothing_created=True) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _move_into_place(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError as error:
        # A process that reclaimed the entry was quicker: the dataset is the same.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def remove(jobs: Path, job_id: str) -> bool:
    """Remove the unpacked dataset of a job that has ended. False: there is nothing here that is ours to remove."""
    folder = jobs / job_id
    # A link's target is not ours: an operator has moved the job's folder.
    leftovers = [] if folder.is_symlink() else [folder / NAME, *folder.glob(f"{NAME}.*")]
    folders = [path for path in leftovers if path.is_dir() and not path.is_symlink()]
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)
    return bool(folders)


def substitute_placeholder(value: Any, dataset: str) -> Any:
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, dataset)
    if isinstance(value, dict):
        return {key: substitute_placeholder(item, dataset) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [substitute_placeholder(item, dataset) for item in value]
    return value
