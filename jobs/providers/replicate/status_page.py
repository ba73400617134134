"""Replicate's status page. It is read at most once a minute, and a failure to read it is no error."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx

from cloudtrain_site.database.connections import lend_connection
from cloudtrain_site.http_client import get_async_client

logger = logging.getLogger("simpletuner.cloud.providers")

URL_VARIABLE = "REPLICATE_STATUS_URL"
DEFAULT_URL = "https://www.replicatestatus.com/api/v1/summary"
INCIDENT_LISTS = ("ongoing_incidents", "in_progress_maintenances", "scheduled_maintenances")
CACHE_SECONDS = 60.0
TIMEOUT_SECONDS = 5.0
MAX_RESPONSE_BYTES = 1_000_000


@dataclass
class _Cache:
    answer: dict[str, Any] = field(default_factory=dict)
    until: float = float("-inf")
    url: str = ""


_cache = _Cache()
_lock = threading.Lock()


def read_status() -> dict[str, Any]:
    """Return whether Replicate is operational, and its incidents; `error` is set when the page can't be read."""
    url = os.environ.get(URL_VARIABLE, DEFAULT_URL)
    lend_connection()
    # Concurrent callers wait for one request.
    with _lock:
        if time.monotonic() >= _cache.until or _cache.url != url:
            _cache.answer = asyncio.run(_fetch(url)) if url else _unknown("The status page is switched off.")
            _cache.until, _cache.url = time.monotonic() + CACHE_SECONDS, url
        return _cache.answer


def _unknown(error: str) -> dict[str, Any]:
    return {"operational": None, **{name: [] for name in INCIDENT_LISTS}, "status_page_url": None, "error": error}


async def _fetch(url: str) -> dict[str, Any]:
    try:
        async with get_async_client(timeout=TIMEOUT_SECONDS) as client:
            response = await client.get(url, headers={"Accept": "application/json"})
        response.raise_for_status()
        return _read(response.json() if len(response.content) <= MAX_RESPONSE_BYTES else None)
    except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
        logger.warning("Replicate's status page could not be read", extra={"error": str(error)})
        return _unknown(f"Replicate's status page could not be read ({type(error).__name__}).")


def _read(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValueError("it is not a JSON object")
    lists = {name: list(body[name]) if isinstance(body.get(name), list) else [] for name in INCIDENT_LISTS}
    page = body.get("page_url")
    return {
        "operational": not lists["ongoing_incidents"] and not lists["in_progress_maintenances"],
        **lists,
        "status_page_url": page if isinstance(page, str) else None,
        "error": None,
    }
