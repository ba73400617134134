"""Configures logging: structlog's and the standard library's loggers, one format, the same handlers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import structlog
from django.conf import settings

from cloudtrain_site.conf.environment import ConfigurationError, path_of
from cloudtrain_site.conf.occupancy import SERVING
from cloudtrain_site.redaction import register_secret, register_secrets_of
from cloudtrain_site.structured_logging.excepthooks import log_uncaught
from cloudtrain_site.structured_logging.filters import CorrelationIDFilter
from cloudtrain_site.structured_logging.formatters import JsonFormatter, TextFormatter
from cloudtrain_site.structured_logging.handlers import FileLineHandler, LineHandler, StreamLineHandler
from cloudtrain_site.structured_logging.loggers import (
    PROCESSORS,
    StructuredLogger,
    TolerantLogger,
)

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS = ("json", "text")
#: The programs that run a command; the first is a checkout's.
COMMANDS = ("manage.py", "cloudtrain")
#: Set by `log_to_file`, for the processes that follow as well.
ERRORS_ALONE = "CLOUDTRAIN_TERMINAL_ERRORS_ALONE"
#: Their DEBUG lines are noise, or worse: the database's contain the parameters of each statement.
NEVER_DEBUG = ("django.db.backends", "django.template", "django.utils.autoreload", "asyncio", "httpcore", "urllib3")
#: Whose lines below WARNING say at which address of the memory a stream's listener is.
WARNINGS_ONLY = ("django_eventstream.views",)


def configure_structured_logging(
    level: str = "INFO",
    json_output: bool = True,
    log_file: str | os.PathLike[str] | None = None,
    include_stack_info: bool = False,
) -> None:
    """Send every log line of this process to the standard output, and to `log_file` if given.

    `include_stack_info` adds the call stack to each line from ERROR up. A second call replaces the first one's
    configuration. Raises ConfigurationError, with nothing changed, for an unknown level or a file that can't be written
    to.
    """
    number = _level_of(level, "The log level")
    stream: LineHandler = StreamLineHandler(_stream_name())
    stream.setFormatter(_formatter(json_output, include_stack_info, colours=_wants_colours()))
    if log_file and os.environ.get(ERRORS_ALONE):
        stream.setLevel(logging.ERROR)
    handlers = [stream]
    if log_file:
        handlers.append(FileLineHandler(path_of(os.fspath(log_file))))
        handlers[-1].setFormatter(_formatter(json_output, include_stack_info))
    for handler in handlers:
        handler.addFilter(CorrelationIDFilter())
    logging.setLoggerClass(TolerantLogger)
    _replace_handlers(handlers)
    _set_levels(number)
    _configure_structlog()
    register_secrets_of(os.environ)
    log_uncaught()


def init_from_env() -> None:
    """Configure from `SIMPLETUNER_LOG_LEVEL`, `_FORMAT` and `_FILE`. Raises ConfigurationError for a bad value."""
    level = os.environ.get("SIMPLETUNER_LOG_LEVEL") or "INFO"
    _level_of(level, "SIMPLETUNER_LOG_LEVEL")
    style = os.environ.get("SIMPLETUNER_LOG_FORMAT") or "json"
    if style.lower() not in FORMATS:
        raise ConfigurationError(f"SIMPLETUNER_LOG_FORMAT is {style!r}, but it must be one of {', '.join(FORMATS)}.")
    log_file = os.environ.get("SIMPLETUNER_LOG_FILE") or None
    configure_structured_logging(level=level, json_output=style.lower() == "json", log_file=log_file)


def log_to_file(path: Path) -> None:
    """Leave a terminal to its reader: it shows errors alone from now on, also of the processes that this one starts.

    All lines are in the file that SIMPLETUNER_LOG_FILE names, or else in `path`.
    """
    os.environ["SIMPLETUNER_LOG_FILE"] = os.environ.get("SIMPLETUNER_LOG_FILE") or str(path)
    os.environ[ERRORS_ALONE] = "1"
    init_from_env()


def configure_django(config: Mapping[str, Any]) -> None:
    """Configure from the environment. Django calls this at its start; its `config` is not read."""
    init_from_env()
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        register_secret(key)


def _level_of(level: str, setting: str) -> int:
    if level.upper() not in LEVELS:
        raise ConfigurationError(f"{setting} is {level!r}, but it must be one of {', '.join(LEVELS)}.")
    return int(getattr(logging, level.upper()))


def _formatter(json_output: bool, include_stack_info: bool, colours: bool = False) -> logging.Formatter:
    return JsonFormatter(include_stack_info) if json_output else TextFormatter(include_stack_info, colours)


def prints_answer(arguments: Sequence[str]) -> bool:
    """Whether this command line runs a manage.py command that prints an answer and ends."""
    return Path("".join(arguments[:1])).name in COMMANDS and not SERVING.intersection(arguments[1:2])


def _stream_name() -> Literal["stdout", "stderr"]:
    """Return where logs go: `manage.py create_api_key bob > key` must leave nothing but the key in the file."""
    return "stderr" if prints_answer(sys.argv) else "stdout"


def _wants_colours() -> bool:
    stream = getattr(sys, _stream_name())
    return bool(stream and stream.isatty() and not os.environ.get("NO_COLOR"))


def _replace_handlers(handlers: list[LineHandler]) -> None:
    """Put ours on the root logger and remove all others: Django, uvicorn and django-q2 would write their own lines."""
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if isinstance(handler, LineHandler) or type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
            handler.close()
    for logger in [*logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
    for handler in handlers:
        root.addHandler(handler)


def _set_levels(level: int) -> None:
    logging.getLogger().setLevel(level)
    for name in NEVER_DEBUG:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    for name in WARNINGS_ONLY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _configure_structlog() -> None:
    """Configure structlog for the loggers of libraries, like django-structlog's."""
    structlog.configure(
        processors=PROCESSORS,
        wrapper_class=StructuredLogger,
        logger_factory=lambda *names: logging.getLogger(*names),
        cache_logger_on_first_use=True,
    )
