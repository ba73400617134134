"""The checks of files and disks."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from cloudtrain_site import extensions
from cloudtrain_site.conf.data_folder import KEY_FILE
from cloudtrain_site.doctor.disks import as_size, free_bytes, free_inodes, mount_of
from cloudtrain_site.doctor.findings import Finding, bad, ok, warn
from cloudtrain_site.serving.body_limit import DEFAULT_MAX_BYTES

#: Fewer free inodes than this, and the outputs of a few trainings use them up.
FEW_INODES = 10_000
MEMORY = frozenset(("tmpfs", "ramfs"))


def data_folder() -> Iterator[Finding]:
    """Check that this account may write to the data folder, and that it is nobody else's."""
    folder = settings.DATA_DIR
    try:
        owner = folder.stat().st_uid
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        account = shlex.quote(account_name(os.geteuid()))
        yield bad(
            f"This account can't write to {folder}: {error.strerror}.",
            f"sudo chown -R {account} {_quoted(folder)} && sudo chmod u+rwX {_quoted(folder)}",
        )
        return
    if os.geteuid() == 0 and owner:
        yield warn(
            f"{folder} belongs to {account_name(owner)}, and this command runs as root.",
            f"Run it as {account_name(owner)}, with the site's environment.",
        )
    if foreign := [path.name for path in sorted(folder.iterdir()) if _owner_of(path) not in (owner, None)]:
        yield bad(
            f"{', '.join(foreign[:5])} in {folder} belong to another account than the folder.",
            f"sudo chown -R {shlex.quote(account_name(owner))} {_quoted(folder)}",
        )
    key = folder / KEY_FILE
    with suppress(FileNotFoundError):
        if stat.S_IMODE(key.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            yield bad(f"Other accounts than the site's can access {key}.", f"chmod 600 {_quoted(key)}")
    yield ok(f"{folder} is writable.")


def disk_room() -> Iterator[Finding]:
    """Check that data and temporary files have room for what may come."""
    largest = largest_request()
    shown = []
    for label, folder in (("data", settings.DATA_DIR), ("temporary files", Path(tempfile.gettempdir()))):
        mount, free, inodes = mount_of(folder), free_bytes(folder), free_inodes(folder)
        shown.append(f"{as_size(free)} free for {label}")
        if free < largest:
            yield bad(
                f"{folder} has {as_size(free)} free for {label}: the largest upload, {as_size(largest)}, does not fit.",
                f"Free some space, or make {mount.point} larger: df -h {_quoted(folder)}",
            )
        elif free < (4 if mount.kind in MEMORY else 10) * largest:
            where = "in memory" if mount.kind in MEMORY else f"on {mount.point}"
            yield warn(
                f"{folder} has {as_size(free)} free for {label} {where}: a few uploads would fill it.",
                "TMPDIR=/var/tmp" if mount.kind in MEMORY else f"df -h {_quoted(folder)}",
            )
        if inodes is not None and inodes < FEW_INODES:
            yield warn(f"{folder} has room for {inodes:,} more files.", f"df -i {_quoted(folder)}")
    yield ok(f"{', '.join(shown)}.")


def largest_request() -> int:
    """Return how many bytes a request may have at most."""
    return max(DEFAULT_MAX_BYTES, *(limit.max_bytes for limit in extensions.request_limits.values()))


def account_name(uid: int) -> str:
    """Return an account's name; in a container it may have a number alone."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _owner_of(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None  # gone meanwhile, as SQLite's own files come and go


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
