"""Structured logging: the public names. See docs/logging.md."""

from __future__ import annotations

from cloudtrain_site.structured_logging.configure import configure_structured_logging, init_from_env
from cloudtrain_site.structured_logging.context import LogContext
from cloudtrain_site.structured_logging.filters import CorrelationIDFilter
from cloudtrain_site.structured_logging.loggers import get_logger

__all__ = ["CorrelationIDFilter", "LogContext", "configure_structured_logging", "get_logger", "init_from_env"]
