"""The HTTP client for slurmrestd. A request that makes something is sent once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx

from cloudtrain_site.conf.providers import SlurmInstance
from cloudtrain_site.http_client import get_async_client, reason_of, was_never_sent
from jobs.providers.slurm import shapes
from jobs.providers.slurm.access import SlurmError, headers, read_errors, refused_token

#: With its controller down slurmrestd takes 18 s to say so (measured; `ping` and `submit` 9 s).
TIMEOUT = httpx.Timeout(connect=5.0, read=22.0, write=22.0, pool=None)
#: A refused token is answered within 15 ms, a controller that is down after 9 s.
PING_TIMEOUT = httpx.Timeout(3.0)
VERSION_CACHE_SECONDS = 600.0

#: Slurm says these two of a token that it refuses, of a controller that is down, and of other things.
UNSPECIFIED = -1
ZERO_BYTES = 5005
NO_CONTROLLER = 1800
ACCESS_DENIED = 2002
#: Refusals that pass: nodes busy, a file of the controller, its network, a controller on standby.
PASSING_CODES = frozenset({2016, 2019, 2022, 2027})
#: What a refusal has to do with our settings.
HINTS: Mapping[int, str] = {
    2000: "The profile's `partition` does not exist on this cluster.",
    2001: "The cluster has no default partition: set the profile's `partition`.",
    ACCESS_DENIED: "The account `user` is not allowed to do this.",
    2003: "The account `user` is in no group that can use the profile's partition.",
    2014: "No node of the cluster has what the profile asks for.",
    2045: "At the cluster, `user` can't bill this `account`, or has none.",
    2050: "A limit of the account or of its quality of service prevents it.",
    2051: "The profile's `time_limit_minutes` is more than the partition allows.",
    2066: "`user` is not allowed to use this `qos`.",
}

# Slurm writes a backslash before each slash of its JSON.
_VERSION = re.compile(rb"/slurm\\?/(v0\.0\.\d{2,3})\\?/")
#: By address: when it was asked, and what it speaks.
_versions: dict[str, tuple[float, str]] = {}


class Connection:
    """An open client of one cluster."""

    def __init__(self, instance: SlurmInstance) -> None:
        self.instance = instance
        self.requests = 0
        self._client = get_async_client(base_url=instance.address, timeout=TIMEOUT)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, error: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(error, value, traceback)

    async def version(self) -> str:
        """Return the version of the API to speak, such as "v0.0.38"."""
        known = _versions.get(self.instance.address)
        if known and time.monotonic() - known[0] < VERSION_CACHE_SECONDS:
            return known[1]
        response = await self._send("GET", "/openapi/v3")
        offered = {match.decode() for match in _VERSION.findall(response.content)}
        if not offered:
            raise self._unreadable(response)
        version = shapes.choose_version(offered)
        _versions[self.instance.address] = (time.monotonic(), version)
        return version

    async def get(self, path: str) -> Mapping[str, Any]:
        """Return the JSON object at `path`, such as "/jobs", asked for twice at most. Raises SlurmError."""
        try:
            return await self._call("GET", path)
        except SlurmError as error:
            if not error.is_cut_off:
                raise
        return await self._call("GET", path)

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._call("POST", path, json=body)

    async def delete(self, path: str) -> Mapping[str, Any]:
        return await self._call("DELETE", path)

    async def _call(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        try:
            version = await self.version()
        except SlurmError as error:
            error.nothing_created = True
            raise
        response = await self._send(method, f"/slurm/{version}{path}", **options)
        body = _parse(response)
        if response.is_success and body is not None:
            return body
        raise await self._refusal(response, body)

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        self.requests += 1
        try:
            return await self._client.request(method, path, headers=headers(self.instance), **options)
        except httpx.RequestError as error:
            raise self._unanswered(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise SlurmError(f"The connection to Slurm failed: {reason_of(error)}.", is_cut_off=True) from error

    def _unanswered(self, error: httpx.RequestError) -> SlurmError:
        if was_never_sent(error):
            message = f"Slurm could not be reached at {self.instance.address}: {reason_of(error)}."
            return SlurmError(message, nothing_created=True)
        if isinstance(error, httpx.ReadTimeout):
            return SlurmError("Slurm did not answer in time.")
        return SlurmError(f"The connection to Slurm broke: {reason_of(error)}.", is_cut_off=True)

    async def _refusal(self, response: httpx.Response, body: Mapping[str, Any] | None) -> SlurmError:
        if response.status_code == 401:
            return refused_token(self.instance)
        if body is None or not read_errors(body):
            return self._unreadable(response)
        code, message = read_errors(body)[0]
        if code in (UNSPECIFIED, ZERO_BYTES, None):
            return await self._vague_refusal(code, message)
        if code == NO_CONTROLLER:
            return SlurmError("Slurm's controller does not answer.", code=code, nothing_created=True)
        is_refusal = code >= 2000
        hint = HINTS.get(code, "")
        return SlurmError(
            f"Slurm refused: {message.rstrip('.')}.{' ' if hint else ''}{hint}",
            code=code,
            permanent=is_refusal and code not in PASSING_CODES,
            nothing_created=is_refusal,
        )

    async def _vague_refusal(self, code: int | None, message: str) -> SlurmError:
        """Find out by a ping what Slurm meant: it answers a refused token and a controller that is down alike."""
        try:
            version = await self.version()
            response = await self._send("GET", f"/slurm/{version}/ping", timeout=PING_TIMEOUT)
        except SlurmError:
            return SlurmError("Slurm's controller does not answer.", code=code)
        if response.status_code in (401, 500):
            return refused_token(self.instance)
        return SlurmError(f"Slurm could not do it: {message.rstrip('.')}.", code=code)

    def _unreadable(self, response: httpx.Response) -> SlurmError:
        status = response.status_code
        if status == 404:
            _versions.pop(self.instance.address, None)  # an upgrade may have taken the version away
        # A proxy that gave up may have handed the request on before; one that refuses has not.
        return SlurmError(
            f"{self.instance.address} answered {status}, but not as Slurm does. Is this slurmrestd's address?",
            nothing_created=status in (400, 403, 404, 405, 407),
        )


def _parse(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
