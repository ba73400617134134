"""The web process, under uvicorn."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cloudtrain_site.settings")
os.environ.setdefault("CLOUDTRAIN_ROLE", "web")

from django.core.asgi import get_asgi_application

from cloudtrain_site.body_limit import BodyLimit
from cloudtrain_site.long_responses import LongResponses

application = LongResponses(BodyLimit(get_asgi_application()))
