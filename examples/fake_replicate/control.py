"""The endpoints below /_fake, for when the fake is a process of its own: what FakeReplicate's attributes do, over HTTP.

They want no token, and take no part in latency, faults, limits and the count of requests.

    GET   /_fake/state             counts, settings, rules
    POST  /_fake/state             {"script": {...} or null, "latency_ms": 100, "age_seconds": 3600,
                                    "rotate_secret": true, "clear_requests": true}
    POST  /_fake/faults            {"calm": true, "settings": {...}, "rules": [{"kind": ...}],
                                    "storm": {kind: probability}, "seed": 1}
    GET   /_fake/predictions       all of them, whole, oldest first
    POST  /_fake/predictions       {"count": 100, "status": "processing", "input": {...}, ...}: as `fill`
    POST  /_fake/predictions/{id}  {"status": "succeeded", "logs": "more", ...}: as `update`
    POST  /_fake/moves             {"ids": [...], "per_second": 300, "status": "succeeded", ...}: as `update_all`
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from aiohttp import web

from examples.fake_replicate import problems
from examples.fake_replicate.predictions import Script
from examples.fake_replicate.seeding import fill, move, move_all
from examples.fake_replicate.webhooks import make_secret
from examples.fake_replicate.world import WORLD, World, answer

routes = web.RouteTableDef()


@routes.get("/_fake/state")
async def state(request: web.Request) -> web.Response:
    return answer(state_of(request.app[WORLD]))


@routes.post("/_fake/state")
async def change_state(request: web.Request) -> web.Response:
    world, body = request.app[WORLD], await read(request)
    if "script" in body:
        world.script = read_script(body["script"])
    if "latency_ms" in body:
        world.latency = body["latency_ms"] / 1000
    world.age(body.get("age_seconds", 0))
    if body.get("rotate_secret"):
        world.webhooks.secret = make_secret()
    if body.get("clear_requests"):
        world.requests.clear()
    return answer(state_of(world))


@routes.post("/_fake/faults")
async def change_faults(request: web.Request) -> web.Response:
    world, body = request.app[WORLD], await read(request)
    try:
        world.faults.change(body.get("settings", {}))
        if body.get("calm"):
            world.faults.calm()
        for rule in body.get("rules", []):
            world.faults.add(**rule)
        world.faults.storm(body.get("storm", {}), seed=body.get("seed", 0))
    except (TypeError, ValueError) as error:
        raise refused(error) from None
    return answer(state_of(world))


@routes.get("/_fake/predictions")
async def all_predictions(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    return answer([world.shown(prediction) for prediction in world.predictions])


@routes.post("/_fake/predictions")
async def add_predictions(request: web.Request) -> web.Response:
    try:
        made = fill(request.app[WORLD], **await read(request))
    except (TypeError, ValueError) as error:
        raise refused(error) from None
    return answer([prediction.id for prediction in made], 201)


@routes.post("/_fake/predictions/{id}")
async def move_prediction(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    prediction = world.find(request.match_info["id"])
    if prediction is None:
        raise problems.not_found()
    try:
        move(world, prediction, **await read(request))
    except TypeError as error:
        raise refused(error) from None
    return answer(world.shown(prediction))


@routes.post("/_fake/moves")
async def move_predictions(request: web.Request) -> web.Response:
    world, body = request.app[WORLD], await read(request)
    identifiers = [identifier for identifier in body.pop("ids", []) if world.predictions.get(identifier)]
    world.spawn(move_all(world, identifiers, **body))
    return answer({"moving": len(identifiers)}, 202)


@routes.post("/_fake/moved")
async def moved(request: web.Request) -> web.Response:
    """Where redirected webhooks go first."""
    return web.Response(status=301, headers={"Location": request.query["to"]})


def read_script(body: dict[str, Any] | None) -> Script | None:
    try:
        return Script(**body) if body is not None else None
    except TypeError as error:
        raise refused(error) from None


async def read(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise refused(error) from None
    if not isinstance(body, dict):
        raise refused("the body must be a JSON object")
    return body


def refused(error: object) -> problems.ProblemError:
    return problems.titled(422, "The fake can't do this", str(error))


def state_of(world: World) -> dict[str, Any]:
    return {
        "url": world.url,
        "predictions": Counter(prediction.status for prediction in world.predictions),
        "requests": world.requests.counts,
        "deliveries": Counter(str(delivery.status) for delivery in world.webhooks.deliveries),
        "files": len(world.files),
        "script": world.script and asdict(world.script),
        "latency_ms": world.latency * 1000,
        "settings": world.faults.settings(),
        "rules": [asdict(rule) for rule in world.faults.rules],
    }
