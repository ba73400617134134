"""The endpoints below /v1 that an account uses."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

from aiohttp import web

from examples.fake_replicate import files, problems
from examples.fake_replicate.catalog import ACCOUNT, HARDWARE, Model
from examples.fake_replicate.creating import read_creation
from examples.fake_replicate.lives import finish
from examples.fake_replicate.pages import Page, Pager
from examples.fake_replicate.predictions import Prediction, kept_body, live_body, skew_ns
from examples.fake_replicate.times import SECOND
from examples.fake_replicate.trainer import live
from examples.fake_replicate.world import WORLD, World, answer, answer_text

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
SHORTEST_DEADLINE = 5
LONGEST_WAIT = 60
FOREIGN_ORIGIN = "https://replicate.example"

routes = web.RouteTableDef()


@routes.post("/v1/predictions")
async def create(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    try:
        body = await request.json()
    except ValueError:
        raise problems.titled(400, "Bad Request", "The request body is not valid JSON") from None
    limit = read_duration(request.headers.get("Cancel-After"))
    prediction = read_creation(body, world.models)
    prediction.script = world.script
    start(world, prediction, limit)
    headers = {"Location": f"{world.url}/v1/predictions/{prediction.id}"}
    shown = live_body(prediction, world.url, world.faults)
    if (seconds := preferred_wait(request)) is not None:
        await wait(prediction, seconds)
        shown = live_body(prediction, world.url, world.faults)
        headers["Preference-Applied"] = f"wait={seconds}"
    return answer(shown, 201, headers)


def start(world: World, prediction: Prediction, limit: int | None = None) -> None:
    """Keep a new prediction and let it live, for `limit` seconds at most."""
    world.predictions.add(prediction)
    if world.faults.start_webhook_at_creation:
        world.webhooks.notify(prediction, "start")
    world.spawn(live(world, prediction))
    if limit is not None:
        prediction.deadline_ns = prediction.created_ns + limit * SECOND
        world.spawn(end_after(world, prediction, limit))


async def end_after(world: World, prediction: Prediction, seconds: int) -> None:
    await asyncio.sleep(seconds)
    finish(world, prediction, "canceled" if prediction.started_ns else "aborted")


def read_duration(text: str | None) -> int | None:
    """The seconds of "90", "5m" or "1h30m45s". Raises a 422."""
    if text is None:
        return None
    found = DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if total < SHORTEST_DEADLINE:
        raise problems.titled(422, "Invalid Cancel-After", f"Cancel-After must be at least {SHORTEST_DEADLINE} seconds")
    return total


def preferred_wait(request: web.Request) -> int | None:
    """How long the client prefers to wait for the end."""
    found = re.fullmatch(r"wait(?:=(\d+))?", request.headers.get("Prefer", ""))
    return None if found is None else min(int(found[1] or LONGEST_WAIT), LONGEST_WAIT)


async def wait(prediction: Prediction, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not prediction.ended and time.monotonic() < deadline:
        await asyncio.sleep(0.01)


@routes.get("/v1/predictions/{id}")
async def get(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    prediction = find(world, request)
    prediction.gets += 1
    if prediction.gets <= world.faults.hidden_gets:
        raise problems.not_found()
    return answer(world.shown(prediction))


@routes.get("/v1/predictions")
async def list_predictions(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    source = request.query.get("source")
    if source not in (None, "web"):
        raise problems.titled(400, "Bad Request", "source must be web")
    items = world.predictions.in_order
    if source is not None:
        items = [one for one in items if one.source == source]
    origin = FOREIGN_ORIGIN if world.faults.foreign_links else world.url
    pager = Pager(items, f"{origin}/v1/predictions", skew_ns(world.faults))
    try:
        page = pager.page(request.query)
    except ValueError:
        raise problems.titled(400, "Bad Request", "created_after and created_before must be dates") from None
    return page_answer(page, [world.listed(prediction) for prediction in page.items])


def page_answer(page: Page[Any], results: list[str]) -> web.Response:
    links = f'"next": {json.dumps(page.next)}, "previous": {json.dumps(page.previous)}'
    return answer_text(f'{{{links}, "results": [{", ".join(results)}]}}')


@routes.post("/v1/predictions/{id}/cancel")
async def cancel(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    prediction = find(world, request)
    if not finish(world, prediction, "canceled"):
        if world.faults.cancel_finished == 404:
            raise problems.not_found()
        if world.faults.cancel_finished == 422:
            raise problems.titled(422, "Prediction has ended", "The prediction has ended and can't be canceled")
    return answer(kept_body(prediction, world.url, world.faults))


def find(world: World, request: web.Request) -> Prediction:
    prediction = world.find(request.match_info["id"])
    if prediction is None:
        raise problems.not_found()
    return prediction


@routes.get("/v1/account")
async def account(request: web.Request) -> web.Response:
    return answer(ACCOUNT)


@routes.get("/v1/hardware")
async def hardware(request: web.Request) -> web.Response:
    return answer(HARDWARE)


@routes.get("/v1/webhooks/default/secret")
async def webhook_secret(request: web.Request) -> web.Response:
    return answer({"key": request.app[WORLD].webhooks.secret})


@routes.get("/v1/models/{owner}/{name}")
async def model(request: web.Request) -> web.Response:
    return answer(find_model(request).body())


@routes.get("/v1/models/{owner}/{name}/versions")
async def versions(request: web.Request) -> web.Response:
    found = find_model(request)
    results = [found.version_body(version) for version in found.versions]
    return answer({"next": None, "previous": None, "results": results})


@routes.get("/v1/models/{owner}/{name}/versions/{version}")
async def version(request: web.Request) -> web.Response:
    found, version = find_model(request), request.match_info["version"]
    if version not in found.versions:
        raise problems.not_found()
    return answer(found.version_body(version))


def find_model(request: web.Request) -> Model:
    name = f"{request.match_info['owner']}/{request.match_info['name']}"
    found = request.app[WORLD].models.get(name)
    if found is None:
        raise problems.not_found()
    return found


@routes.post("/v1/files")
async def upload(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    if request.content_type != "multipart/form-data":
        raise problems.titled(415, "Unsupported Media Type", f'Unsupported media type "{request.content_type}"')
    file = await world.files.receive(await request.multipart())
    return answer(file.body(world.url), 201)


@routes.get("/v1/files")
async def list_files(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    page = files.pager(world.files, world.url).page(request.query)
    return page_answer(page, [json.dumps(file.body(world.url)) for file in page.items])


@routes.get("/v1/files/{id}")
async def get_file(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    return answer(world.files.find(request.match_info["id"]).body(world.url))


@routes.get("/v1/files/{id}/download")
async def download_file(request: web.Request) -> web.StreamResponse:
    return files.download(request.app[WORLD].files.find(request.match_info["id"]))


@routes.delete("/v1/files/{id}")
async def delete_file(request: web.Request) -> web.Response:
    request.app[WORLD].files.delete(request.match_info["id"])
    return web.Response(status=204, content_type="text/plain")
