"""What stands before Django in the web process: the limits of the site, and what rooms put there by the settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from cloudtrain_site.body_limit import BodyLimit
from cloudtrain_site.long_responses import LongResponses


def behind_fronts(site: Any) -> LongResponses:
    """The ASGI application `site` with all that stands in front; the first of the settings' FRONTS is the outermost."""
    for path in reversed(settings.FRONTS):
        site = import_string(path)(site)
    return LongResponses(BodyLimit(site))
