"""The handlers of log lines: for the standard streams, and for a file that many processes and logrotate share."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Literal, TextIO

from cloudtrain_site.conf.environment import ConfigurationError


class LineHandler(logging.Handler):
    """Writes one line a record. Its errors are reported once on stderr and never reach the caller."""

    has_reported = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record) + "\n")
            self.has_reported = False
        except Exception as error:
            self._report(error)

    def write(self, line: str) -> None:
        """Write one line, with its line end, in one piece."""
        raise NotImplementedError

    def _report(self, error: Exception) -> None:
        """Report an error once each time it begins: a full disk must not fill the other stream too."""
        if self.has_reported:
            return
        self.has_reported = True
        try:
            sys.stderr.write(f"Log lines are being lost: {error}\n")
        except Exception:
            return  # stderr is closed as well, and a log line is not worth a crash


class StreamLineHandler(LineHandler):
    """Writes to the stream that is the standard output or error at the moment of the line."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        super().__init__()
        self.stream_name = name

    @property
    def stream(self) -> TextIO | None:
        """Return the stream; a daemon may have none."""
        return getattr(sys, self.stream_name)  # type: ignore[no-any-return]

    def write(self, line: str) -> None:
        """Write and flush: a line in a buffer would be lost with the process."""
        stream = self.stream
        if stream is None:
            return
        try:
            stream.write(line)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


class FileLineHandler(LineHandler):
    """Appends to a file.

    Each line is one `write` to a descriptor opened for appending, so that lines of several processes stay whole. When
    logrotate has moved or removed the file, the next line begins a new one. A line that a full disk cut off is ended
    before the next one, which would otherwise be lost with it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._descriptor = -1
        self._identity = (0, 0)
        self._may_be_cut = False
        try:
            self._open()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(
                f"The log file {path} can't be written to ({reason}). Make its folder and let this account write "
                "there, or set SIMPLETUNER_LOG_FILE to another path, or unset it to log to the standard output alone."
            ) from None

    def write(self, line: str) -> None:
        """Append to the file that has the path now."""
        if not self._is_current():
            self._open()
        data = line.encode("utf-8", "backslashreplace")
        if self._may_be_cut and self._is_cut():
            data = b"\n" + data
        self._may_be_cut = True
        while data:  # more than once only on a full disk or after a signal
            data = data[os.write(self._descriptor, data) :]
        self._may_be_cut = False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _is_current(self) -> bool:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - half the cost of Path.stat, at every line
        except OSError:
            return False
        return self._descriptor >= 0 and (status.st_dev, status.st_ino) == self._identity

    def _is_cut(self) -> bool:
        """Whether the file ends within a line: ours, or one of another process on the full disk."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                return file.read(1) not in (b"", b"\n")
        except OSError:
            return True  # a pipe, or a file without read permission: an empty line does no harm

    def _open(self) -> None:
        """Open the new file before the old one is closed, so that a failure changes nothing."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        status = os.fstat(descriptor)
        self._descriptor, self._identity = descriptor, (status.st_dev, status.st_ino)
