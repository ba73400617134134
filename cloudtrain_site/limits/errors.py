"""The refusal of what is beyond a limit for one person."""

from __future__ import annotations

from rest_framework import status

from cloudtrain_site.errors import RecordedError
from cloudtrain_site.limits.uses import note_refusal


class LimitReachedError(RecordedError):
    """A limit per person is reached, or too many requests. `Retry-After` says when to try again."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "limit_reached"

    def __init__(self, limit: str, user_id: int, detail: str, *, wait: int) -> None:
        """`limit` is its key in the configuration, `detail` a sentence, `wait` the seconds until a try may succeed."""
        super().__init__(detail)
        self.limit = limit
        self.user_id = user_id
        self.wait = wait

    def record(self) -> None:
        note_refusal(self.user_id, self.limit)
