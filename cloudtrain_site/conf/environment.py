"""The environment's settings, and the error of an invalid one."""

from __future__ import annotations

import ipaddress
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import environ

BOOLEANS = ("true", "on", "ok", "y", "yes", "1", "false", "off", "no", "n", "0", "")
EMAIL_SCHEMES = ("smtp", "smtps", "smtp+tls", "smtp+ssl", "consolemail", "filemail", "memorymail", "dummymail")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
DATABASES = {
    "django.db.backends.sqlite3": "sqlite:///PATH",
    "django.db.backends.postgresql": "postgres://USER:PASSWORD@HOST:PORT/NAME",
}


class ConfigurationError(Exception):
    """An invalid setting. The message is a sentence for the operator: what is wrong, and what is allowed."""


def path_of(text: str) -> Path:
    """Return the absolute path that `text` means. `~` works here too: no shell expands a service's variables."""
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - Path's raises where there is no such home


class Environment(environ.Env):  # type: ignore[misc]
    """django-environ, whose errors name the variable and the allowed values. They never show its value."""

    def whole_number(self, name: str, default: int, *, or_none: bool = False) -> int:
        """Return a whole number above 0; with `or_none` 0 is one too."""
        text = self.str(name, default=str(default)).strip()
        if not text.isascii() or not text.isdigit() or int(text) < (not or_none):
            raise ConfigurationError(f"{name} must be a whole number{'' if or_none else ' above 0'}.")
        return int(text)

    def switch(self, name: str, *, default: bool) -> bool:
        """Return a boolean. django-environ takes every unknown value for false."""
        text = self.str(name, default=str(default)).strip().lower()
        if text not in BOOLEANS:
            raise ConfigurationError(f"{name} must be true or false.")
        return text in BOOLEANS[:6]

    def networks(self, name: str) -> list[str]:
        """Return networks and addresses, separated by blanks or commas; none when the variable isn't set."""
        texts = self.str(name, default="").replace(",", " ").split()
        try:
            return [str(ipaddress.ip_network(network, strict=False)) for network in texts]
        except ValueError:
            raise ConfigurationError(
                f"{name} must be addresses or networks such as 10.0.0.0/8, separated by spaces or commas."
            ) from None

    def database(self, name: str, default: str) -> dict[str, Any]:
        """Return Django's settings of a database URL."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they would show the URL, with its password
                database: dict[str, Any] = self.db_url(name, default=default)
        except (ValueError, environ.ImproperlyConfigured):
            database = {}
        if database.get("ENGINE") not in DATABASES:
            raise ConfigurationError(f"{name} must be one of: {', '.join(DATABASES.values())}.")
        return database

    def redis(self, name: str) -> str:
        """Return a Redis URL; empty: none."""
        url = str(self.str(name, default="")).strip()
        if url and not url.startswith(REDIS_SCHEMES):
            raise ConfigurationError(f"{name} must begin with one of: {', '.join(REDIS_SCHEMES)}.")
        if url and find_spec("redis") is None:
            raise ConfigurationError(f"{name} needs the package redis, which is not installed: pip install redis")
        return url

    def mail(self, name: str, default: str) -> dict[str, Any]:
        """Return Django's settings of a mail server's URL."""
        try:
            return dict(self.email(name, default=default))
        except (ValueError, KeyError, environ.ImproperlyConfigured) as error:
            raise ConfigurationError(f"{name} must begin with one of: {', '.join(EMAIL_SCHEMES)}.") from error
