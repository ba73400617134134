"""A training's folder on the folder that the site shares with the cluster's nodes.

It is `SHARED/MARKER` as for other clusters (jobs/providers/clusters/training_folder.py), and belongs to the account
that trains, with nothing for anybody else. Besides the runner's records it holds:

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
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.providers.base import ProviderError
from jobs.providers.clusters.training_folder import DATASETS, TrainingFolder, probe, require
from jobs.providers.local.files import NotRegularFileError, open_regular
from jobs.providers.runner import records

SLURM_JOB = "slurm_job"
SLURM_LOG = "slurm.log"
SUBMISSION = "submission.json"
MAX_SUBMISSION_BYTES = 200_000
#: So often one marker is submitted, by us and by what Slurm lost.
MAX_SUBMISSIONS = 3
#: On the shared folder since the first submission: without it, another folder is in its place.
SIGN = ".cloudtrain"
LAST_LINE_BYTES = 4_000
LAST_LINE_CHARACTERS = 300


def require_ours(shared: Path) -> None:
    """Raise ProviderError when this isn't the folder that trainings were written to, as before it is mounted."""
    require(shared)
    if not (shared / SIGN).exists():
        raise ProviderError("This is not the shared folder that trainings were written to. Mount that one.")


def account(user: str) -> pwd.struct_passwd:
    """Return the account that trains, as this machine knows it. Raises ProviderError for one that can't be served."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise ProviderError(
            f"This machine has no account {user!r}, under which trainings run on the cluster. "
            "Create one with the same user id.",
            nothing_created=True,
        ) from None
    if os.geteuid() not in (0, found.pw_uid):
        raise ProviderError(
            f"This site runs as {_own_name()!r}, but trainings run as {user!r}, who can't read their configs. "
            f"Run the site as {user!r}, or set `user` to {_own_name()!r}.",
            nothing_created=True,
        )
    return found


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def check(shared: Path, user: str) -> None:
    """Raise ProviderError when no training's folder can be written for the account."""
    owner = account(user)
    with probe(shared) as path:
        _give(path, owner)


def _give(path: Path, owner: pwd.struct_passwd) -> None:
    if os.geteuid() != owner.pw_uid:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def give_all(folder: Path, owner: pwd.struct_passwd) -> None:
    """Give a folder with all that is in it to the account that trains."""
    if os.geteuid() == owner.pw_uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _give(Path(parent, name), owner)
    _give(folder, owner)


def make_dataset_folder(shared: Path, job_id: str, owner: pwd.struct_passwd) -> Path:
    """Return the folder for a job's dataset. Its parent lets the account that trains through, whatever our umask is."""
    folder = shared / DATASETS / job_id
    folder.parent.mkdir(exist_ok=True)
    if os.geteuid() != owner.pw_uid:
        folder.parent.chmod(0o711)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class SharedFolder(TrainingFolder):
    def prepare_run(self, files: Mapping[str, bytes], owner: pwd.struct_passwd) -> None:
        """Write what the training needs, for `owner` alone. Replaces what an earlier submission wrote."""
        self.output.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        for name, data in files.items():
            self.write(name, data)
        give_all(self.path, owner)

    def keep_submission(self, body: Mapping[str, Any], *, sent: int = 1) -> None:
        """Keep what Slurm is asked for, and how often it was."""
        self.write(SUBMISSION, json.dumps({"sent": sent, "body": body}).encode())

    def was_submitted(self) -> bool:
        """Whether Slurm was asked, and may have made a job."""
        return (self.path / SUBMISSION).exists()

    def forget_submission(self) -> None:
        """Leave no secrets to a job that Slurm surely didn't make; the next submission writes them again."""
        (self.path / SUBMISSION).unlink(missing_ok=True)
        self.drop_secrets()

    def take_submission(self) -> dict[str, Any] | None:
        """Return what Slurm was asked for, to ask again. None: nothing is known of it, or it was asked often enough."""
        try:
            kept = json.loads(self.read(SUBMISSION, MAX_SUBMISSION_BYTES))
            sent, body = kept["sent"], kept["body"]
        except (FileNotFoundError, NotADirectoryError, NotRegularFileError, ValueError, KeyError, TypeError):
            return None
        if not isinstance(sent, int) or not isinstance(body, dict) or sent >= MAX_SUBMISSIONS:
            return None
        self.keep_submission(body, sent=sent + 1)
        return body

    def slurm_job(self) -> int | None:
        """Return the number of the Slurm job that trains here; None before one began."""
        with suppress(OSError, NotRegularFileError, ValueError):
            return int(self.read(SLURM_JOB, 20))
        return None

    def is_cancel_requested(self) -> bool:
        return os.path.lexists(self.path / records.CANCEL)

    def drop_secrets(self) -> None:
        """Replace the configs by their masked copies, as a runner that was killed has not."""
        records.drop_secrets(str(self.path))

    def record_missed_end(
        self, code: int | None, error: str | None, ended_at: datetime | None, *, stopped: bool
    ) -> bool:
        """Write the end that the runner could not record: Slurm forgets it, and the log is complete by it.

        False: the runner did record it. A network file system may show a file late, but refuses to make it again.
        """
        path, at = self.path / records.END, (ended_at or datetime.now(UTC)).isoformat()
        record = {"exit_code": code, "stopped": stopped, "error": error, "ended_at": at}
        # On a full disk it isn't written, and is tried again the next time.
        with suppress(OSError):
            if self.exists() and not records.write_once(str(path), record):
                if self.run().ended_at:
                    return False
                records.write_atomically(str(path), record)  # what is there is damaged
        return True

    def last_line(self) -> str:
        """Return the last line that the script or the runner wrote; empty for none."""
        with suppress(OSError, NotRegularFileError):
            with open_regular(self.path / SLURM_LOG) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_LINE_BYTES))
                lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
            text = "".join(character for character in lines[-1] if character.isprintable()) if lines else ""
            return text.strip()[:LAST_LINE_CHARACTERS]
        return ""
