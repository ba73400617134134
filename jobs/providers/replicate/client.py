"""The HTTP client for Replicate: it bounds requests, heeds rate limits, and never repeats what may cost money."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx

from cloudtrain_site.http_client import get_async_client, reason_of, was_never_sent
from jobs.providers.replicate.access import Access, ReplicateError, origin_of

#: The documented limit is 50 requests a second; at their usual duration this many at once stay below it.
MAX_CONCURRENT_REQUESTS = 8
#: Attempts of a request that changes nothing.
MAX_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.2
#: A throttled request waits this long at most; a longer wait is an error with `retry_after`.
MAX_WAIT_SECONDS = 5.0
DEFAULT_RETRY_SECONDS = 10.0
#: After this many unanswered requests in a row the fault is general, and none is repeated.
MAX_UNANSWERED = MAX_CONCURRENT_REQUESTS
TIMEOUT = httpx.Timeout(connect=5.0, read=10.0, write=30.0, pool=None)
#: Status codes of a POST that prove that nothing was created.
NOTHING_CREATED_CODES = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
#: Status codes that a repetition would not change.
PERMANENT_CODES = NOTHING_CREATED_CODES - {429}
ACCOUNT_CODES = frozenset({401, 402, 403})
_RESETS_IN = re.compile(r"(?:resets in ~?|available in )(\d{1,6}(?:\.\d+)?) ?s")


class Connection:
    """An open client. Requests beyond the bound wait; after a 429 all of them wait for as long as it says."""

    def __init__(self, access: Access, *, concurrency: int = MAX_CONCURRENT_REQUESTS) -> None:
        if not access.token:
            permanent = not access.token_may_come
            raise ReplicateError(access.no_token, permanent=permanent, nothing_created=True, is_general=True)
        self.access = access
        self.requests = 0
        self._semaphore = asyncio.Semaphore(concurrency)
        self._not_before = 0.0
        self._unanswered_in_a_row = 0
        self._client = get_async_client(
            base_url=access.base, timeout=TIMEOUT, headers={"Authorization": f"Bearer {access.token}"}
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, error: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(error, value, traceback)

    async def get(self, path: str, **params: str) -> Any:
        """Return the JSON at `path`, after at most MAX_ATTEMPTS requests. Raises ReplicateError."""
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._send("GET", path, params=params or None)
            except ReplicateError as error:
                wait = pause if error.retry_after is None else error.retry_after
                if (
                    error.permanent
                    or attempt == MAX_ATTEMPTS
                    or wait > MAX_WAIT_SECONDS
                    or self._unanswered_in_a_row >= MAX_UNANSWERED
                ):
                    raise
            await asyncio.sleep(wait)
            pause *= 4
        raise AssertionError("the last attempt returns or raises")

    async def follow(self, link: str) -> Any:
        """Return the JSON at a link from Replicate. Raises ReplicateError for a link to another host."""
        try:
            origin = origin_of(link)
        except ValueError:
            raise ReplicateError("Replicate returned a link that is not an address.") from None
        if origin != self.access.origin:
            raise ReplicateError(f"Replicate linked to another host: {origin[1]}.")
        return await self.get(link)

    async def post(self, path: str, **options: Any) -> Any:
        """Return the JSON answer of a POST. It is sent once: a repetition could create, and bill, a second training."""
        return await self._send("POST", path, **options)

    async def _send(self, method: str, path: str, **options: Any) -> Any:
        async with self._semaphore:
            delay = self._not_before - asyncio.get_running_loop().time()
            if delay > MAX_WAIT_SECONDS:
                raise _throttled(delay)
            if delay > 0:
                await asyncio.sleep(delay)
            self.requests += 1
            try:
                response = await self._client.request(method, path, **options)
            except httpx.RequestError as error:
                self._unanswered_in_a_row += 1
                raise _unanswered(error, is_general=self._unanswered_in_a_row >= MAX_UNANSWERED) from error
            except (aiohttp.ClientError, OSError) as error:
                raise ReplicateError(f"The connection to Replicate failed: {reason_of(error)}.") from error
        self._unanswered_in_a_row = 0
        self._apply_rate_limits(response)
        return _json_or_error(response)

    def _apply_rate_limits(self, response: httpx.Response) -> None:
        pause = None
        if response.status_code == 429:
            pause = retry_after(response.headers, _parse(response)) or DEFAULT_RETRY_SECONDS
        elif response.headers.get("ratelimit-remaining") == "0":
            pause = _number(response.headers.get("ratelimit-reset"))
        if pause:
            until = asyncio.get_running_loop().time() + pause
            self._not_before = max(self._not_before, until)


def _throttled(seconds: float) -> ReplicateError:
    """Return the error of a request that was not sent because an earlier one was throttled."""
    message = f"Replicate asks for no requests for another {seconds:.0f} s."
    return ReplicateError(message, code=429, nothing_created=True, retry_after=seconds, is_general=True)


def _unanswered(error: httpx.RequestError, *, is_general: bool) -> ReplicateError:
    """Return the error of a request without an answer. `is_general`: many before it had none either."""
    if was_never_sent(error):
        return ReplicateError(
            f"Replicate could not be reached: {reason_of(error)}.", nothing_created=True, is_general=True
        )
    if isinstance(error, httpx.ReadTimeout):
        return ReplicateError("Replicate did not answer in time.", is_general=is_general)
    return ReplicateError(f"The connection to Replicate broke: {reason_of(error)}.", is_general=is_general)


def _json_or_error(response: httpx.Response) -> Any:
    body = _parse(response)
    if response.is_success:
        if body is None and response.content:
            raise ReplicateError("Replicate's answer could not be read: it is not JSON.", code=response.status_code)
        return body
    raise _refusal(response, body)


def _refusal(response: httpx.Response, body: Any) -> ReplicateError:
    status = response.status_code
    wait = retry_after(response.headers, body)
    return ReplicateError(
        f"Replicate answered {status}: {_detail(body)}",
        code=status,
        permanent=status in PERMANENT_CODES,
        nothing_created=status in NOTHING_CREATED_CODES,
        retry_after=(wait or DEFAULT_RETRY_SECONDS) if status == 429 else wait,
        is_general=status in ACCOUNT_CODES or status == 429 or status >= 500,
    )


def _parse(response: httpx.Response) -> Any:
    """Return the body as JSON; None when it is something else."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _detail(body: Any) -> str:
    """Return Replicate's own message; any key may be missing."""
    if not isinstance(body, dict):
        return "no reason was given."
    parts = [str(body[key]).strip() for key in ("title", "detail") if body.get(key)]
    return ": ".join(parts)[:2000] or "no reason was given."


def retry_after(headers: Mapping[str, str], body: Any) -> float | None:
    """Return the seconds to wait, from the header, the body's field or its message; None when none gives any."""
    detail = body if isinstance(body, dict) else {}
    match = _RESETS_IN.search(str(detail.get("detail", "")))
    candidates = (headers.get("retry-after"), detail.get("retry_after"), match[1] if match else None)
    return next((seconds for candidate in candidates if (seconds := _number(candidate)) is not None), None)


def _number(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < 86_400 else None
