"""Webhooks: one signed POST, to the address that was checked, with bounds on time and answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from django.core.serializers.json import DjangoJSONEncoder

from cloudtrain_site import __version__
from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.correlation_ids import HEADER
from cloudtrain_site.http_client import ssl_context
from cloudtrain_site.notices.models import Notice
from cloudtrain_site.notices.outcomes import SENT, Outcome, failed, refused
from cloudtrain_site.notices.signatures import signed_headers
from cloudtrain_site.notices.targets import RefusedAddressError, check_address, checked_socket

#: For all of a call: the name, the connection, the answer.
CALL_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
GONE = 410


@dataclass(frozen=True, slots=True)
class Call:
    """A webhook that is to be sent."""

    address: str = field(repr=False)
    signing_secrets: Sequence[str] = field(repr=False)
    message_id: str
    body: bytes
    correlation_id: str


def body_of(notice: Notice) -> bytes:
    """Return the JSON of a notice, the same at each try."""
    fields: dict[str, Any] = {
        "subject": notice.subject,
        "text": notice.text,
        "link": full_link(notice.link),
        **({"job_id": notice.job_id} if notice.job_id else {}),
        **notice.data,
    }
    message = {"type": notice.kind, "timestamp": notice.created_at, "data": fields}
    return json.dumps(message, cls=DjangoJSONEncoder).encode()


def webhook_client(connections: int) -> aiohttp.ClientSession:
    """Return a client that connects to allowed addresses alone, follows no redirect, and uses no proxy.

    It is no httpx client: those log the address of each call, whose path is often its secret.
    """
    connector = aiohttp.TCPConnector(limit=connections, ssl=ssl_context(), socket_factory=checked_socket)
    return aiohttp.ClientSession(
        connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    )


async def send_webhook(client: aiohttp.ClientSession, call: Call) -> Outcome:
    """Make the call. Never raises."""
    try:
        check_address(call.address)
        async with asyncio.timeout(CALL_SECONDS):
            return _judged(await _status(client, call))
    except RefusedAddressError as error:
        return refused(str(error))
    except TimeoutError:
        return failed(f"There was no answer within {CALL_SECONDS:.0f} seconds.")
    except aiohttp.InvalidURL:
        return refused("This is not a valid address.")
    except aiohttp.ClientResponseError:
        return failed("Its response is not valid HTTP.")
    except (aiohttp.ClientError, OSError) as error:
        return _unreached(error)


async def _status(client: aiohttp.ClientSession, call: Call) -> int:
    headers = {
        "content-type": "application/json",
        "user-agent": f"cloudtrain/{__version__}",
        HEADER: call.correlation_id,
        **signed_headers(call.message_id, int(time.time()), call.body, call.signing_secrets),
    }
    async with client.post(call.address, data=call.body, headers=headers, allow_redirects=False) as response:
        # A short answer is read, so that the connection can be used again; the rest of a long one is not.
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                break
        return response.status


def _judged(status: int) -> Outcome:
    if 200 <= status < 300:
        return SENT
    if status == GONE:
        return refused("It answered 410: it accepts no more notices.", switches_off=True)
    if 300 <= status < 400:
        return failed(f"It answered {status}: redirects are not followed.")
    return failed(f"It answered {status}.")


def _unreached(error: BaseException) -> Outcome:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RefusedAddressError):
            return refused(str(cause))
        cause = cause.__cause__
    return failed("It could not be reached.")
