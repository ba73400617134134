"""The ASGI applications in front of Django in the web process: the site's limits, and those that the settings name."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from cloudtrain_site.serving.body_limit import BodyLimit
from cloudtrain_site.serving.deferred_responses import DeferredResponses
from cloudtrain_site.serving.host_required import HostRequired
from cloudtrain_site.serving.traced_requests import TracedRequests
from cloudtrain_site.tracing.spans import is_on


def behind_fronts(site: Any) -> DeferredResponses:
    """Wrap the ASGI application `site` in the settings' FRONTS, of which the first is the outermost."""
    for path in reversed(settings.FRONTS):
        site = import_string(path)(site)
    limited = BodyLimit(site)
    return DeferredResponses(HostRequired(TracedRequests(limited) if is_on() else limited))


def warm_up() -> threading.Thread:
    """Call the settings' WARM_UP in a thread, so that the first requests don't wait for what it prepares."""
    thread = threading.Thread(target=_call_all, name="warm-up", daemon=True)
    thread.start()
    return thread


def _call_all() -> None:
    try:
        for path in settings.WARM_UP:
            import_string(path)()
    finally:
        connection.close()
