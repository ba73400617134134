"""The id that a request brings: taken, or replaced when it can't be used. Knows no Django, which may not be up yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cloudtrain_site.correlation_ids import MAX_LENGTH, correlation, is_valid_correlation_id
from cloudtrain_site.structured_logging.loggers import get_logger

logger = get_logger("simpletuner.cloud.http")


@contextmanager
def request_correlation(header: str | None) -> Iterator[str]:
    """Name the work of a request as its `header` does; one that can't be used is replaced, which is logged."""
    # Blanks around a header's value are no part of it, and the server leaves those that follow.
    given = (header or "").strip(" \t")
    is_good = is_valid_correlation_id(given)
    with correlation(given if is_good else None) as correlation_id:
        if given and not is_good:
            # Its length and not its text: whoever sent it chose that to be logged.
            reason = "too long" if len(given) > MAX_LENGTH else "a character that is not allowed"
            logger.warning("Correlation id replaced", reason=reason, length=len(given))
        yield correlation_id
