"""The environment's variables that the site reads, and the values in force."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.conf import settings

UNSET = "(not set)"
STATUS_PAGE = "REPLICATE_STATUS_URL"


def _database(text: str) -> str:
    database = settings.DATABASES["default"]
    return text or f"sqlite:///{database['NAME']}"


def is_set(name: str) -> bool:
    """Whether the environment sets `name`. An empty STATUS_PAGE counts as well: it disables the status page."""
    return bool(os.environ.get(name)) or (name == STATUS_PAGE and name in os.environ)


#: By variable, a function from its text (empty: not set) to the value in force.
VARIABLES: dict[str, Callable[[str], Any]] = {
    "SIMPLETUNER_LOG_LEVEL": lambda text: text.upper() or "INFO",
    "SIMPLETUNER_LOG_FORMAT": lambda text: text.lower() or "json",
    "SIMPLETUNER_LOG_FILE": lambda text: text or "(only the standard output)",
    "SIMPLETUNER_DATA_DIR": lambda text: settings.DATA_DIR,
    "DATABASE_URL": _database,
    "REDIS_URL": lambda text: settings.REDIS_URL or UNSET,
    "SECRET_KEY": lambda text: settings.SECRET_KEY,
    "SECRET_KEY_FALLBACKS": lambda text: text or UNSET,
    "ALLOWED_HOSTS": lambda text: settings.ALLOWED_HOSTS,
    "CSRF_TRUSTED_ORIGINS": lambda text: settings.CSRF_TRUSTED_ORIGINS,
    "CLOUDTRAIN_TRUSTED_PROXIES": lambda text: settings.TRUSTED_PROXIES,
    "CLOUDTRAIN_METRICS_NETWORKS": lambda text: settings.METRICS_NETWORKS,
    "CLOUDTRAIN_NOTICE_NETWORKS": lambda text: settings.NOTICE_NETWORKS,
    "CLOUDTRAIN_NOTICE_CHAT_HOSTS": lambda text: settings.NOTICE_CHAT_HOSTS,
    "CLOUDTRAIN_SESSION_DAYS": lambda text: settings.SESSION_COOKIE_AGE // 86_400,
    "CLOUDTRAIN_SESSION_IDLE_HOURS": lambda text: settings.SESSION_IDLE_SECONDS // 3600,
    "SECURE_COOKIES": lambda text: settings.SESSION_COOKIE_SECURE,
    "SECURE_SSL_REDIRECT": lambda text: settings.SECURE_SSL_REDIRECT,
    "SECURE_HSTS_SECONDS": lambda text: settings.SECURE_HSTS_SECONDS,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": lambda text: settings.SECURE_HSTS_INCLUDE_SUBDOMAINS,
    "SECURE_HSTS_PRELOAD": lambda text: settings.SECURE_HSTS_PRELOAD,
    "DEBUG": lambda text: settings.DEBUG,
    "EMAIL_URL": lambda text: text or settings.EMAIL_BACKEND,
    "DEFAULT_FROM_EMAIL": lambda text: settings.DEFAULT_FROM_EMAIL,
    "CLOUDTRAIN_ROLE": lambda text: settings.ROLE,
    "CLOUDTRAIN_DEBUGGABLE": lambda text: text.strip().lower() == "true",
    "CLOUDTRAIN_WEB_PROCESSES": lambda text: settings.WEB_PROCESSES,
    "CLOUDTRAIN_WORKERS": lambda text: settings.Q_CLUSTER["workers"],
    "REPLICATE_API_TOKEN": lambda text: text or UNSET,
    "REPLICATE_BASE_URL": lambda text: text or "(the provider's own)",
    "REPLICATE_STATUS_URL": lambda text: text or ("(none)" if is_set(STATUS_PAGE) else "(its own)"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": lambda text: text or UNSET,
    "STATIC_ROOT": lambda text: text or UNSET,
    "CLOUDTRAIN_BACKUP_DIR": lambda text: text or UNSET,
    "CLOUDTRAIN_ACCELERATED_LOCATION": lambda text: text or UNSET,
}
