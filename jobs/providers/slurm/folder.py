"""A job's folder on the folder that the site shares with the cluster's nodes.

It is `SHARED/JOB_ID`, laid out as on this machine (jobs/providers/local/folder.py), and belongs to the account that
trains. `SHARED/markers/MARKER` leads to it. Besides the runner's records it holds:

    slurm_job       the Slurm job that began first, written by its script: no other one starts the training
    slurm.log       what the script and the runner have to say
    run.json        the runner's order
    runner.pyz      the runner
    submission.json what Slurm was asked for, to ask again when it lost that
"""

from __future__ import annotations

import json
import os
import pwd
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.providers import runner
from jobs.providers.base import ProviderError, TrainingSpec
from jobs.providers.local import dataset
from jobs.providers.local.files import NotRegularFileError, open_regular
from jobs.providers.local.folder import JobFolder
from jobs.providers.runner import records

SLURM_JOB = "slurm_job"
SLURM_LOG = "slurm.log"
SUBMISSION = "submission.json"
MAX_SUBMISSION_BYTES = 200_000
LAST_WORDS_BYTES = 4_000
LAST_WORDS_CHARACTERS = 300


@contextmanager
def shared_folder_errors(*, nothing_created: bool = False) -> Iterator[None]:
    """Turn OSError into a ProviderError whose message names no path of ours, since a submitter may read it."""
    try:
        yield
    except OSError as error:
        message = error.strerror or str(error)
        raise ProviderError(f"The shared folder can't be used: {message}.", nothing_created=nothing_created) from error


def require(shared: Path) -> None:
    """Raise ProviderError when the shared folder isn't there: a folder made in its place would be no shared one."""
    if not shared.is_dir():
        raise ProviderError("The shared folder is not there on this machine: mount it.", nothing_created=True)


def account(user: str) -> pwd.struct_passwd:
    """Return the account that trains, as this machine knows it. Raises ProviderError for one that can't be served."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise ProviderError(
            f"This machine has no account {user!r}, which trains on the cluster: its files could not be given to it. "
            "Make one with the same number.",
            nothing_created=True,
        ) from None
    if os.geteuid() not in (0, found.pw_uid):
        raise ProviderError(
            f"This site runs as {_own_name()!r}, and trainings run as {user!r}, who could not read their configs. "
            f"Run the site as {user!r}, or set `user` to {_own_name()!r}.",
            nothing_created=True,
        )
    return found


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def probe(shared: Path, user: str) -> None:
    """Write a file as trainings' folders are written. Raises ProviderError when that fails."""
    require(shared)
    owner = account(user)
    with shared_folder_errors(), tempfile.NamedTemporaryFile(dir=shared, prefix=".probe-") as file:
        file.write(b"0")
        file.flush()
        _give(Path(file.name), owner)


def _give(path: Path, owner: pwd.struct_passwd) -> None:
    if os.geteuid() != owner.pw_uid:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


class SharedJobFolder(JobFolder):
    def prepare_run(self, spec: TrainingSpec, order: Mapping[str, Any], owner: pwd.struct_passwd) -> None:
        """Write all that the training needs, for `owner` alone. Replaces what an earlier submission wrote."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        config = dataset.substitute_placeholder(spec.dataloader_config, spec.dataset) if spec.dataset else None
        self.prepare(spec.config, spec.dataloader_config if config is None else config)
        (self.path / runner.ARCHIVE_NAME).write_bytes(runner.archive())
        records.write_atomically(str(self.path / runner.RUN_NAME), order, records.open_private)
        self.link_marker(spec.marker)
        self.give(owner)

    def give(self, owner: pwd.struct_passwd) -> None:
        """Give the folder with all that is in it to the account that trains."""
        if os.geteuid() == owner.pw_uid:
            return
        for parent, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                _give(Path(parent, name), owner)
        _give(self.path, owner)

    def keep_submission(self, body: Mapping[str, Any]) -> None:
        records.write_atomically(str(self.path / SUBMISSION), body, records.open_private)

    def kept_submission(self) -> dict[str, Any] | None:
        with suppress(OSError, NotRegularFileError, ValueError):
            body = json.loads(self._read(SUBMISSION, MAX_SUBMISSION_BYTES))
            return body if isinstance(body, dict) else None
        return None

    def slurm_job(self) -> int | None:
        """Return the number of the Slurm job that trains here; None before one began."""
        with suppress(OSError, NotRegularFileError, ValueError):
            return int(self._read(SLURM_JOB, 20))
        return None

    def last_words(self) -> str:
        """Return the last line that the script or the runner wrote; empty for none."""
        with suppress(OSError, NotRegularFileError):
            with open_regular(self.path / SLURM_LOG) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS_BYTES))
                lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
            text = "".join(character for character in lines[-1] if character.isprintable()) if lines else ""
            return text.strip()[:LAST_WORDS_CHARACTERS]
        return ""

    def _read(self, name: str, limit: int) -> bytes:
        with open_regular(self.path / name) as file:
            return file.read(limit)
