"""The command and the environment of a training on this machine: the operator's choice, never a submitter's."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudtrain_site.conf.places import BASE_DIR, with_import_path
from cloudtrain_site.enterprise import config_in_force
from jobs.providers.base import ProviderError, TrainingSpec

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

OUR_SECRETS = frozenset({"SECRET_KEY", "DATABASE_URL", "REPLICATE_API_TOKEN", "EMAIL_URL", "REDIS_URL"})
# TOKENIZERS_PARALLELISM is no secret, and a trainer needs it.
SECRET_NAME = re.compile(
    r"SECRET|PASSW|PASSPHRASE|PASSFILE|CREDENTIAL|(?:TOKEN|KEY|AUTH|COOKIE|DSN|PAT)S?(?:_|$)", re.I
)
#: An address with a password in it.
SECRET_VALUE = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
CORRELATION_ID = re.compile(r"[0-9A-Za-z._-]{1,128}")


def substitute_placeholders(
    command: Sequence[str], folder: Path, dataset: str = "", *, output: Path | None = None, python: str = sys.executable
) -> list[str]:
    """Return the command with our paths in place of its placeholders. An argument stays one argument, whatever is in
    it.

    `dataset` is the folder of the unpacked dataset; empty for a job without one. `output` lies in the job's folder
    unless it is given.
    """
    values = {
        "python": python,
        "config": str(folder / "config.json"),
        "dataloader": str(folder / "dataloader.json"),
        "output_dir": str(output or folder / "output"),
        "job_dir": str(folder),
        "dataset": dataset,
    }
    return [PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), argument) for argument in command]


def check(command: Sequence[str]) -> None:
    """Raise ProviderError when the command can't be started here."""
    program = substitute_placeholders(command[:1], BASE_DIR)[0]
    if os.sep in program and not Path(program).is_absolute():
        # A relative path would be resolved in the job's folder.
        raise ProviderError(f"The trainer's program {program!r} must be a name or an absolute path.", permanent=True)
    if shutil.which(program) is None:
        raise ProviderError(f"The trainer's program {program!r} does not exist or is not executable.", permanent=True)


def clean_environment(spec: TrainingSpec, outer: Mapping[str, str]) -> dict[str, str]:
    """Return the trainer's environment: `outer` without anything that looks like a secret, and the job's ids.

    A trainer that needs a key of its own gets it from a file, or from a wrapper that the operator configures.
    """
    ours = OUR_SECRETS | config_in_force().secret_variables
    kept = {name: value for name, value in outer.items() if name not in ours and not _is_secret(name, value)}
    return with_import_path(kept) | job_variables(spec)


def job_variables(spec: TrainingSpec) -> dict[str, str]:
    """Return the variables that tell a trainer whose training it is."""
    is_valid_id = CORRELATION_ID.fullmatch(spec.correlation_id)
    return {
        "CLOUDTRAIN_JOB_ID": spec.job_id,
        "CLOUDTRAIN_CORRELATION_ID": spec.correlation_id if is_valid_id else "",
        "PYTHONUNBUFFERED": "1",
    }


def _is_secret(name: str, value: str) -> bool:
    return bool(SECRET_NAME.search(name) or SECRET_VALUE.search(value))
