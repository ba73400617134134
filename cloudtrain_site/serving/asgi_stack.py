"""What stands before Django in the web process: the limits of the site, and what rooms put there by the settings."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from cloudtrain_site.serving.body_limit import BodyLimit
from cloudtrain_site.serving.deferred_responses import DeferredResponses


def behind_fronts(site: Any) -> DeferredResponses:
    """The ASGI application `site` with all that stands in front; the first of the settings' FRONTS is the outermost."""
    for path in reversed(settings.FRONTS):
        site = import_string(path)(site)
    return DeferredResponses(BodyLimit(site))


def warm_up() -> threading.Thread:
    """Make what is made once, and what the first requests would otherwise wait for, in a thread beside the others."""
    thread = threading.Thread(target=_call_all, name="warm-up", daemon=True)
    thread.start()
    return thread


def _call_all() -> None:
    try:
        for path in settings.WARM_UP:
            import_string(path)()
    finally:
        connection.close()
