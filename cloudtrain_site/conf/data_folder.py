"""The files of the data folder that let a first start need no setting."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloudtrain_site.conf.environment import ConfigurationError

#: The file of SECRET_KEY, where the environment sets none.
KEY_FILE = "secret_key"


def kept_secret_key(data_dir: Path, *, makes_one: bool = True) -> str:
    """Return the key in KEY_FILE. Where there is none, it is made (mode 600), or else only this process gets a key.

    Two processes that start at once get the same key: the file appears whole under its name or not at all. Raises
    ConfigurationError when the folder can't be used.
    """
    path = data_dir / KEY_FILE
    with usable(data_dir):
        if not path.exists():
            if not makes_one:
                return secrets.token_urlsafe(50)
            data_dir.mkdir(parents=True, exist_ok=True)
            _make_key(path)
        return path.read_text().strip()


def make_folder(data_dir: Path) -> None:
    """Make the data folder when there is none. Raises ConfigurationError when that is impossible."""
    with usable(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)


def make_files_private() -> None:
    """Have every file and folder that this process and its children make be for this account alone."""
    os.umask(0o077)


def close_to_others(paths: Iterable[Path]) -> list[Path]:
    """Leave `paths` to this account where every user may use them. Returns those that were changed.

    Access for a group alone stays: somebody gave it, as to a program that ships the log.
    """
    changed = []
    for path in paths:
        with suppress(OSError):  # missing, or somebody else's
            mode = path.stat().st_mode
            if mode & stat.S_IRWXO:
                path.chmod(mode & stat.S_IRWXU)
                changed.append(path)
    return changed


def make_private_file(path: str) -> None:
    """Make an empty file that only this account may read; an existing one stays unchanged.

    For SQLite's database, which holds users' sessions: SQLite would make it readable for all. The files that it makes
    beside it get the same mode.
    """
    # Where none can be made, SQLite's own error says so.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    """Raise ConfigurationError, with a sentence for the operator, when the block fails to use the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"The data folder {data_dir} can't be used ({reason}). Let this account write to it, or set "
            "SIMPLETUNER_DATA_DIR to another folder."
        ) from None


def _make_key(path: Path) -> None:
    # A random name: in a container every start has the same process id, and a crash leaves the draft.
    draft = path.with_name(f".{KEY_FILE}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(50))
    try:
        os.link(draft, path)  # refuses to replace the key of a faster process
    except FileExistsError:
        pass
    finally:
        draft.unlink()
