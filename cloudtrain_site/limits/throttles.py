"""Limits on requests that cost much, by person. A view names its limits in `throttle_classes`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser, User
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.limits.uses import seconds_to_wait


class PersonThrottle(BaseThrottle):
    """Counts the requests of each person against a limit of the configuration."""

    #: The key of its number in the configuration, and what the requests are called.
    limit: ClassVar[str]
    noun: ClassVar[str]

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request. Raises LimitReachedError, whose sentence says more than the library's."""
        self.count(request.user)
        return True

    @classmethod
    def count(cls, user: User | AnonymousUser) -> None:
        """Count a request of the user's. Raises LimitReachedError for one too many."""
        if not isinstance(user, User):
            return  # refused in any case
        allowed: int = getattr(config_in_force().limits, cls.limit)
        seconds = seconds_to_wait(user.pk, cls.limit, allowed)
        if seconds:
            wait = math.ceil(seconds)
            unit = "second" if wait == 1 else "seconds"
            reached = f"You have reached the limit for {cls.noun}, {allowed} a minute per user."
            raise LimitReachedError(cls.limit, user.pk, f"{reached} Try again in {wait} {unit}.", wait=wait)


class Syncs(PersonThrottle):
    limit = "syncs_per_minute"
    noun = "requests to a provider for new jobs"


class Previews(PersonThrottle):
    limit = "previews_per_minute"
    noun = "dry runs and previews of rules"


class LogReads(PersonThrottle):
    limit = "log_reads_per_minute"
    noun = "whole logs, ends of logs and curves"
