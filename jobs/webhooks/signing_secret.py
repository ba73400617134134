"""The secrets that sign webhooks, one for each account: fetched when needed, kept in memory alone."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import DatabaseError

from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.redaction import register_secret
from jobs.models import ProviderConfig
from jobs.providers import names_of_kind
from jobs.providers.base import ProviderError
from jobs.providers.replicate.provider import ReplicateProvider

logger = logging.getLogger("simpletuner.cloud.webhooks")

#: Forged deliveries must not cause a request each.
REFETCH_PAUSE_SECONDS = 60.0
#: All deliveries wait while the secret is fetched, so not for long, and after a failure not for a while.
FETCH_SECONDS = 4.0
FAILURE_PAUSE_SECONDS = 5.0


@dataclass
class _Cache:
    secret: str = ""
    fetched_again_at: float = float("-inf")
    account: tuple[str, str] = ("", "")
    failed_at: float = float("-inf")
    #: Of this account alone: one that is away keeps no other's deliveries waiting.
    lock: threading.Lock = field(default_factory=threading.Lock)


#: By the provider's name.
_caches: defaultdict[str, _Cache] = defaultdict(_Cache)
_lock = threading.Lock()


def _cache_of(name: str) -> _Cache:
    with _lock:
        return _caches[name]


def secret(name: str) -> str:
    """Return the secret of the account of the provider `name`. Raises ProviderError when it can't be fetched."""
    provider = ReplicateProvider.from_settings(name)
    account = (provider.access.base, provider.access.token)
    cache = _cache_of(name)
    with cache.lock:
        if not cache.secret or cache.account != account:
            _fetch(provider, cache)
        return cache.secret


def fetch_beforehand(name: str) -> None:
    """Fetch the secret unless it is known: who asks for those of all accounts in turn must not wait for one of them.

    A failure is remembered for FAILURE_PAUSE_SECONDS, and raised when the secret is asked for.
    """
    if not is_known(name):
        with suppress(ProviderError):
            secret(name)


def is_known(name: str) -> bool:
    return bool(_cache_of(name).secret)


def fetch_early() -> None:
    """Fetch the secrets before the first delivery, where deliveries are expected: it takes longer than all the rest."""
    for name in names_of_kind("replicate"):
        try:
            config = ProviderConfig.objects.filter(pk=name).first()
            if config is not None and config.webhook_url and ReplicateProvider.from_settings(name).access.token:
                secret(name)
        except (ProviderError, DatabaseError) as error:
            # The first delivery fetches it again, and its response says what is wrong.
            logger.info("Webhook secret could not be fetched early", extra={"provider": name, "error": str(error)})


def fresh_secret(name: str, used: str) -> str | None:
    """Fetch the secret again when `used` didn't verify: it may have changed. None: it is the same, or too soon."""
    cache = _cache_of(name)
    with cache.lock:
        if cache.secret != used:
            return cache.secret
        if time.monotonic() - cache.fetched_again_at < REFETCH_PAUSE_SECONDS:
            return None
        # Marked first: a provider that is down isn't asked at every delivery either.
        cache.fetched_again_at = time.monotonic()
        try:
            _fetch(ReplicateProvider.from_settings(name), cache)
        except ProviderError as error:
            logger.warning("Webhook secret could not be fetched again", extra={"provider": name, "error": str(error)})
            return None
        return cache.secret if cache.secret != used else None


def clear_cache() -> None:
    with _lock:
        _caches.clear()


def _fetch(provider: ReplicateProvider, cache: _Cache) -> None:
    if time.monotonic() - cache.failed_at < FAILURE_PAUSE_SECONDS:
        raise ProviderError("Replicate did not return its webhook secret a moment ago.")
    lend_connection()
    try:
        secret = asyncio.run(asyncio.wait_for(provider.webhook_secret(), FETCH_SECONDS))
    except TimeoutError:
        cache.failed_at = time.monotonic()
        raise ProviderError("Replicate did not return its webhook secret in time.") from None
    except ProviderError:
        cache.failed_at = time.monotonic()
        raise
    register_secret(secret)
    cache.secret, cache.account = secret, (provider.access.base, provider.access.token)
