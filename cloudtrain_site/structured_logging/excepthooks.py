"""Logs what nobody caught, in the shape of every other line: exceptions in any thread or process, and warnings."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TextIO

from cloudtrain_site.redaction import mask_text

_exceptions = logging.getLogger("py.exceptions")
_warnings = logging.getLogger("py.warnings")
_before: dict[str, Any] = {}


def log_uncaught() -> None:
    """Take Python's hooks. Calling it again changes nothing; a hook that somebody else had set runs after ours."""
    if sys.excepthook is not _log_exception:
        _before["main"] = sys.excepthook
        sys.excepthook = _log_exception
    if threading.excepthook is not _log_thread_exception:
        _before["thread"] = threading.excepthook
        threading.excepthook = _log_thread_exception
    if sys.unraisablehook is not _log_unraisable:
        _before["unraisable"] = sys.unraisablehook
        sys.unraisablehook = _log_unraisable
    if BaseProcess.run is not _run_logged:
        _before["process"] = BaseProcess.run
        # There is no hook for what a process dies of.
        BaseProcess.run = _run_logged  # type: ignore[assignment, method-assign]
    if warnings.showwarning is not _log_warning:
        _before["warning"] = warnings.showwarning
        warnings.showwarning = _log_warning


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log_at_its_source("Uncaught exception", (kind, error, trace))
    if sys.stderr and sys.stderr.isatty():
        # For whoever sits before it: a traceback on one line is for machines.
        sys.stderr.write(mask_text("".join(traceback.format_exception(kind, error, trace))))
    if _before["main"] is not sys.__excepthook__:
        _before["main"](kind, error, trace)


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "that has ended"
    _log_at_its_source(f"Uncaught exception in thread {name}", (args.exc_type, args.exc_value, args.exc_traceback))
    if _before["thread"] is not threading.__excepthook__:
        _before["thread"](args)


def _run_logged(process: BaseProcess) -> None:
    """What a forked child does, as each process of django-q2's is one. Its end is that of an exception: status 1."""
    try:
        _before["process"](process)
    except Exception:
        _log_at_its_source(f"Uncaught exception in process {process.name}", sys.exc_info())
        raise SystemExit(1) from None


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    """What Python can't raise, as from a destructor."""
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    _log_at_its_source(f"{args.err_msg or 'Exception ignored in'} {args.object!r}", exc_info, logging.ERROR)
    if _before["unraisable"] is not sys.__unraisablehook__:
        _before["unraisable"](args)


def _log_at_its_source(message: str, exc_info: Any, level: int = logging.CRITICAL) -> None:
    """One line whose source is the place that raised."""
    file, line, function = "?", 0, "?"
    trace = exc_info[2]
    while trace is not None:
        code = trace.tb_frame.f_code
        file, line, function = code.co_filename, trace.tb_lineno, code.co_name
        trace = trace.tb_next
    _handle(_exceptions, level, file, line, message, exc_info, function)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One WARNING line whose source is the place that the warning is about."""
    if file is not None:
        _before["warning"](message, category, filename, lineno, file, line)
        return
    _handle(_warnings, logging.WARNING, filename, lineno, f"{category.__name__}: {message}", None, "")


def _handle(
    logger: logging.Logger, level: int, file: str, line: int, message: str, exc_info: Any, function: str
) -> None:
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(logger.name, level, file, line, message, (), exc_info, function))
