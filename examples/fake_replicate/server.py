"""The HTTP server of a fake: opens its port, closes it, and opens the same one again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from aiohttp import web

from examples.fake_replicate import api, control
from examples.fake_replicate.gate import gate
from examples.fake_replicate.world import WORLD, World

HOST = "127.0.0.1"
LONGEST_BODY = 20_000_000
BACKLOG = 1024
# What hangs on purpose would never end by itself.
SHUTDOWN_SECONDS = 0.2


class Server:
    """Serves one world on the loopback address."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.port = port
        app = web.Application(middlewares=[gate], client_max_size=LONGEST_BODY)
        app[WORLD] = world
        app.add_routes([*api.routes, *control.routes])
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        self.site: web.SockSite | None = None

    async def serve(self, ready: Callable[[], None], ending: asyncio.Event) -> None:
        """Serve until `ending` is set. `ready` is called once the address is known and open."""
        await self.runner.setup()
        try:
            await self.open()
            ready()
            await ending.wait()
        finally:
            await self.world.close()
            await self._close_door()
            await self.runner.cleanup()

    async def open(self) -> None:
        self._listening = socket.create_server((HOST, self.port), backlog=BACKLOG)
        self.site = web.SockSite(self.runner, self._listening)
        await self.site.start()
        self.port = self.runner.addresses[0][1]
        self.world.url = self.world.webhooks.base = f"http://{HOST}:{self.port}"

    async def shut(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        assert self.runner.server is not None
        await self._close_door()
        for connection in self.runner.server.connections:
            connection.force_close()

    async def _close_door(self) -> None:
        """Stop listening, unless that has been done.

        A connection that asyncio has accepted a moment before its server closes finds none to belong to: its socket
        would stay open until the garbage collector complains of it. So nothing is accepted any more, and what was
        gets its turn, before the server closes.
        """
        if self.site is None:
            return
        site, self.site = self.site, None
        asyncio.get_running_loop().remove_reader(self._listening)
        await asyncio.sleep(0)
        await site.stop()
