"""Reading files that a trainer can replace: by a link to somebody else's, by a FIFO, by a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

#: How the kernel refuses a link, a socket, and a file whose mode the trainer took away.
REFUSALS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES})


class NotRegularFileError(ValueError):
    """There is something of that name, but no regular file that can be read."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; no link is followed, and no FIFO waited for. Raises NotRegularFileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in REFUSALS:
            raise NotRegularFileError from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError
    return os.fdopen(descriptor, "rb")
