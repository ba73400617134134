"""Logs uncaught exceptions, in any thread or process, and warnings, in the format of every other line."""

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
_former_hooks: dict[str, Any] = {}


def log_uncaught() -> None:
    """Set Python's hooks. A second call changes nothing; a hook that was set before runs after ours."""
    if sys.excepthook is not _log_exception:
        _former_hooks["main"] = sys.excepthook
        sys.excepthook = _log_exception
    if threading.excepthook is not _log_thread_exception:
        _former_hooks["thread"] = threading.excepthook
        threading.excepthook = _log_thread_exception
    if sys.unraisablehook is not _log_unraisable:
        _former_hooks["unraisable"] = sys.unraisablehook
        sys.unraisablehook = _log_unraisable
    if BaseProcess.run is not _run_logged:
        _former_hooks["process"] = BaseProcess.run
        # Python has no hook for the exception that ends a process.
        BaseProcess.run = _run_logged  # type: ignore[assignment, method-assign]
    if warnings.showwarning is not _log_warning:
        _former_hooks["warning"] = warnings.showwarning
        warnings.showwarning = _log_warning


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log_at_its_source("Uncaught exception", (kind, error, trace))
    if sys.stderr and sys.stderr.isatty():
        # A person reads this terminal: the log's traceback on one line is for machines.
        sys.stderr.write(mask_text("".join(traceback.format_exception(kind, error, trace))))
    if _former_hooks["main"] is not sys.__excepthook__:
        _former_hooks["main"](kind, error, trace)


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "that has ended"
    _log_at_its_source(f"Uncaught exception in thread {name}", (args.exc_type, args.exc_value, args.exc_traceback))
    if _former_hooks["thread"] is not threading.__excepthook__:
        _former_hooks["thread"](args)


def _run_logged(process: BaseProcess) -> None:
    """Run a forked child, like each process of django-q2, and end it with status 1 after an exception."""
    try:
        _former_hooks["process"](process)
    except Exception:
        _log_at_its_source(f"Uncaught exception in process {process.name}", sys.exc_info())
        raise SystemExit(1) from None


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    """Log an exception that Python can't raise, as one in a destructor."""
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    _log_at_its_source(f"{args.err_msg or 'Exception ignored in'} {args.object!r}", exc_info, logging.ERROR)
    if _former_hooks["unraisable"] is not sys.__unraisablehook__:
        _former_hooks["unraisable"](args)


def _log_at_its_source(message: str, exc_info: Any, level: int = logging.CRITICAL) -> None:
    """Log one line whose source is the place that raised."""
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
    """Log one WARNING line whose source is the place that the warning names."""
    if file is not None:
        _former_hooks["warning"](message, category, filename, lineno, file, line)
        return
    _handle(_warnings, logging.WARNING, filename, lineno, f"{category.__name__}: {message}", None, "")


def _handle(
    logger: logging.Logger, level: int, file: str, line: int, message: str, exc_info: Any, function: str
) -> None:
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(logger.name, level, file, line, message, (), exc_info, function))
