"""What every request to the API passes: the log, the latency, the faults, the token and the limits."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from examples.fake_replicate import problems
from examples.fake_replicate.faults import REQUESTS, Rule
from examples.fake_replicate.world import WORLD, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTROL = "/_fake/"
HANG_SECONDS = 3600.0
RETRY_SECONDS = {"body": 7.0, "text": 30.0}


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith(CONTROL):
        return await answered(request, handler)
    world = request.app[WORLD]
    world.requests.add(request)
    if world.latency:
        await asyncio.sleep(world.latency)
    rule = next(world.faults.draw(REQUESTS, request.path, request.method), None)
    if rule is None:
        return await admitted(world, request, handler)
    if rule.kind == "slow":
        await asyncio.sleep(rule.seconds or 1.0)
        return await admitted(world, request, handler)
    if rule.after:
        await admitted(world, request, handler)
    return await spoilt(request, rule)


async def admitted(world: World, request: web.Request, handler: Handler) -> web.StreamResponse:
    """The answer to a request whose token is right; with the limits in its headers, where the real one has them."""
    if not has_token(world, request):
        return problems.unauthenticated().response()
    if request.path.startswith("/v1/files"):
        return await answered(request, handler)
    creates = request.method == "POST" and request.path == "/v1/predictions"
    bucket = world.creates if creates else world.others
    remaining, reset = bucket.take(world.faults.creates_per_minute if creates else world.faults.others_per_minute)
    if remaining < 0 and world.faults.enforce_limits:
        bucket.refund()
        response: web.StreamResponse = problems.throttled(reset, "text").response()
    else:
        response = await answered(request, handler)
    response.headers["ratelimit-remaining"] = str(max(0, remaining))
    response.headers["ratelimit-reset"] = str(reset)
    return response


async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except problems.ProblemError as problem:
        return problem.response()
    except web.HTTPNotFound:
        return problems.not_found().response()
    except web.HTTPMethodNotAllowed:
        return problems.titled(405, "Method Not Allowed", f'Method "{request.method}" not allowed.').response()


def has_token(world: World, request: web.Request) -> bool:
    """Both schemes count: the older `Token` still works."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme in ("Bearer", "Token") and hmac.compare_digest(token.encode(), world.token.encode())


async def spoilt(request: web.Request, rule: Rule) -> web.StreamResponse:
    """What comes instead of an answer."""
    match rule.kind:
        case "hang":
            await hang(request, rule.seconds or HANG_SECONDS)
            return hung_up(request)
        case "drop" | "drop_reply":
            return hung_up(request)
        case "server_error":
            return problems.html_error(rule.status)
        case "garbage":
            return web.Response(text='{"id": "', content_type="application/json")
        case "throttle":
            return problems.throttled(rule.seconds or RETRY_SECONDS.get(rule.wait_in, 1.0), rule.wait_in).response()
        case "invalid_input":
            wrong = ("number_lte", "input.num_inference_steps", "Must be less than or equal to 4")
            return problems.invalid_fields(("required", "input", "prompt is required"), wrong).response()
    named = {
        "no_credit": problems.no_credit,
        "invalid_version": problems.invalid_version,
        "unauthenticated": problems.unauthenticated,
        "not_found": problems.not_found,
    }
    return named[rule.kind]().response()


async def hang(request: web.Request, seconds: float) -> None:
    """Say nothing until the time is over or the client has gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.1)


def hung_up(request: web.Request) -> web.Response:
    """Close the connection; the response that is returned goes nowhere."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
