"""Which processes serve a data folder, and whether a restore was left unfinished in it. Read before all settings.

A process that serves holds a name of its own, which the system takes back when it ends, however it ends. A restore
first writes its mark and then looks for names, a process first takes its name and then looks for the mark: one of the
two sees the other.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.places import COMMAND

#: The commands that serve, whose output is their log; the others print an answer.
SERVING = frozenset(("up", "background", "runserver", "qcluster"))
RESTORING = ".restoring"
NAMES = Path("/proc/net/unix")
#: The commands that work in a folder whose restore is unfinished.
MENDING = ("restore", "help", "version")
_held: dict[str, socket.socket] = {}


def enter(data_dir: Path, *, serves: bool, command: str) -> None:
    """Hold the folder when this process `serves`. Raises ConfigurationError for a folder that is half of a backup."""
    if serves:
        hold(data_dir)
    if command not in MENDING and (data_dir / RESTORING).exists():
        raise ConfigurationError(
            f"A restore into {data_dir} was interrupted: run {COMMAND} restore again before anything else."
        )


def hold(data_dir: Path) -> None:
    """Hold the folder as this process. A forked one gives up the names that it has from its parent."""
    if sys.platform != "linux":
        return
    name = f"{_prefix(data_dir)}{os.getpid()}"
    for other in _held.keys() - {name}:
        _held.pop(other).close()
    if name not in _held:
        _held[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(OSError):
            _held[name].bind(f"\0{name}")


def serving_processes(data_dir: Path) -> list[int]:
    """Return the processes of this machine, or of this container, that serve the folder."""
    prefix = f"@{_prefix(data_dir)}"
    with suppress(OSError):
        names = {line.rpartition(" ")[2] for line in NAMES.read_text(errors="replace").splitlines()}
        return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))
    return []


def _prefix(data_dir: Path) -> str:
    return f"cloudtrain-site-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}-"
