"""The errors that Replicate answers with: the bodies that were recorded, word for word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

PROBLEM = "application/problem+json"

REDUCED = (
    "Request was throttled. Your rate limit for creating predictions is reduced to 6 requests per minute with a burst "
    "of 1 requests while you have less than $5.0 in credit."
)
NO_CREDIT = (
    "You have insufficient credit to run this model. Go to https://replicate.com/account/billing#billing to purchase "
    "credit. Once you purchase credit, please wait a few minutes before trying again."
)
NO_VERSION = "The specified version does not exist (or perhaps you don't have permission to use it?)"
BAD_GATEWAY = """<!DOCTYPE html>
<html><head><title>api.replicate.com | {status}: Bad gateway</title></head>
<body><h1>Bad gateway <span>Error code {status}</span></h1><p>The web server reported a bad gateway error.</p>
<div class="cf-error-footer">Cloudflare Ray ID: <strong>0000000000000000</strong></div></body></html>
"""


class ProblemError(Exception):
    """An answer that is an error. `body` is sent as it is."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers or {}

    def response(self) -> web.Response:
        return web.Response(text=json.dumps(self.body), status=self.status, headers=self.headers, content_type=PROBLEM)


def titled(status: int, title: str, detail: str) -> ProblemError:
    return ProblemError(status, {"title": title, "detail": detail, "status": status})


def not_found(detail: str = "Not found.") -> ProblemError:
    return ProblemError(404, {"detail": detail, "status": 404})


def unauthenticated() -> ProblemError:
    return titled(401, "Unauthenticated", "You did not pass a valid authentication token")


def no_credit() -> ProblemError:
    return titled(402, "Insufficient credit", NO_CREDIT)


def invalid_version() -> ProblemError:
    return titled(422, "Invalid version or not permitted", NO_VERSION)


def invalid_fields(*found: tuple[str, str, str]) -> ProblemError:
    """The other form of a 422, of (type, field, description) for each field that is wrong."""
    lines = [f"- {field}: {text}\n" if field else f"- {text}\n" for _, field, text in found]
    listed = [{"type": kind, "field": field, "description": text} for kind, field, text in found]
    body = {
        "detail": "".join(lines),
        "status": 422,
        "title": "Input validation failed",
        "invalid_fields": listed,
    }
    return ProblemError(422, body)


def throttled(seconds: float, wait_in: str) -> ProblemError:
    """A 429 whose wait stands in the "body" (as seen), in the "text" alone, in the "header" alone, or in "nothing"."""
    wait = max(1, round(seconds))
    if wait_in == "body":
        detail = f"{REDUCED} Your rate limit resets in ~{wait}s."
        return ProblemError(429, {"detail": detail, "status": 429, "retry_after": wait})
    if wait_in == "text":
        return ProblemError(429, {"detail": f"Request was throttled. Your rate limit resets in ~{wait}s."})
    headers = {"Retry-After": str(wait)} if wait_in == "header" else {}
    return ProblemError(429, {"detail": "Request was throttled.", "status": 429}, headers)


def html_error(status: int) -> web.Response:
    """What the proxy in front says when there is nothing behind it."""
    return web.Response(text=BAD_GATEWAY.format(status=status), status=status, content_type="text/html")
