"""The HTTP client for Ray's dashboard. Each failure is a sentence that says what to do."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.providers import RayInstance
from cloudtrain_site.http_client import get_async_client, reason_of, was_never_sent
from jobs.providers.base import ProviderError

MAX_CONCURRENT_REQUESTS = 8
#: A head without its store hangs for ten seconds before it answers an error (measured).
TIMEOUT = httpx.Timeout(connect=5.0, read=20.0, write=60.0, pool=None)
MAX_REASON_CHARACTERS = 300
#: Ray's limit for a package (measured: one byte more is 413).
MAX_PACKAGE_BYTES = 104_857_600
PERMANENT_CODES = frozenset({400, 405, 413, 415, 422})


class RayError(ProviderError):
    """`code`: the HTTP status of the answer; None without one. `is_general`: any other request would fail as well."""

    def __init__(self, message: str, *, code: int | None = None, is_general: bool = False, **options: Any) -> None:
        super().__init__(message, **options)
        self.code = code
        self.is_general = is_general


class Connection:
    """An open client for one cluster. Raises RayError, and nothing else."""

    def __init__(self, instance: RayInstance, *, with_token: bool = True) -> None:
        self.instance = instance
        self.token = _token_of(instance) if with_token else ""
        self._semaphore = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self._client = get_async_client(base_url=instance.address, timeout=TIMEOUT, headers=headers)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, error: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(error, value, traceback)

    async def json(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON answer."""
        response = await self.send(method, path, **options)
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError):
            raise self._foreign(response) from None

    async def bytes(self, path: str, **params: str) -> bytes:
        """Return the answer's body as it is."""
        return (await self.send("GET", path, params=params)).content

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request once, and return its answer if it is a good one."""
        async with self._semaphore:
            try:
                response = await self._client.request(method, path, **options)
            except httpx.RequestError as error:
                raise self._unanswered(error) from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise self._error(f"could not be reached: {_reason_of(error)}.", is_general=True) from error
        if response.is_success:
            return response
        raise self._refusal(response)

    def _error(self, text: str, **options: Any) -> RayError:
        return RayError(f"{self.instance.label} {text}", **options)

    def _unanswered(self, error: httpx.RequestError) -> RayError:
        if was_never_sent(error):
            text = f"could not be reached at {self.instance.address}: {_reason_of(error)}."
            return self._error(text, nothing_created=True, is_general=True)
        if isinstance(error, httpx.ReadTimeout):
            return self._error("did not answer in time. Its head node may be hanging.", is_general=True)
        return self._error(f"broke the connection: {_reason_of(error)}.", is_general=True)

    def _refusal(self, response: httpx.Response) -> RayError:
        code = response.status_code
        if code in (401, 403):
            return self._error(self._about_token(response), code=code, nothing_created=True, is_general=True)
        if _is_web_page(response) or 300 <= code < 400:
            return self._foreign(response)
        if code == 413:
            text = "takes at most 100 MB with a job. Set a shared folder for this provider."
            return self._error(text, code=code, permanent=True, nothing_created=True)
        return self._error(
            f"answered {code}: {self._reason(response)}",
            code=code,
            permanent=code in PERMANENT_CODES,
            nothing_created=code in PERMANENT_CODES or code == 404,
        )

    def _about_token(self, response: httpx.Response) -> str:
        if _is_web_page(response):
            return (
                f"is behind a proxy that refuses this site ({response.status_code}). "
                "Let this site through, or set the address behind the proxy."
            )
        if not self.token:
            return "needs a token. Set this provider's `token` or `token_file`."
        return "refused the token. It is wrong or has expired. Set the cluster's current token."

    def _foreign(self, response: httpx.Response) -> RayError:
        """Return the error for an answer that no dashboard of Ray gives."""
        if 300 <= response.status_code < 400:
            found = "a redirection"
        else:
            found = "a web page" if _is_web_page(response) else "no JSON"
        text = (
            f"answered {response.status_code} with {found}: its address belongs to a proxy or another service, "
            "not to a Ray dashboard."
        )
        return self._error(text, code=response.status_code, is_general=True)

    def _reason(self, response: httpx.Response) -> str:
        """Return the last line of an error's text, which is the reason at the end of a traceback."""
        lines = [line.strip() for line in response.text[-20_000:].splitlines() if line.strip()]
        return self.scrubbed(lines[-1])[:MAX_REASON_CHARACTERS] if lines else "no reason was given."

    def scrubbed(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text


def _token_of(instance: RayInstance) -> str:
    try:
        return instance.token.read()
    except ConfigurationError as error:
        message = f"The token of {instance.label} can't be read: {error}"
        raise RayError(message, nothing_created=True, is_general=True) from None


def _is_web_page(response: httpx.Response) -> bool:
    return "html" in response.headers.get("content-type", "") or response.content[:200].lstrip()[:1] == b"<"


def _reason_of(error: Exception) -> str:
    return reason_of(error)[:MAX_REASON_CHARACTERS]
