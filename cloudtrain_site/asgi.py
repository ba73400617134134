"""The web process, under uvicorn."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")
os.environ.setdefault("CLOUDTRAIN_ROLE", "web")

from cloudtrain_site.serving.deferred_responses import DeferredResponses
from cloudtrain_site.serving.lean_imports import load_lean_libraries


def _site() -> DeferredResponses:
    load_lean_libraries()  # before anything else loads them
    import django

    django.setup()  # first: the applications in front of it import models

    from cloudtrain_site.serving.asgi_stack import behind_fronts
    from cloudtrain_site.serving.one_thread import OneThreadHandler

    return behind_fronts(OneThreadHandler())


application = _site()
