"""The command: runs a fake until SIGTERM or SIGINT, its address and secrets printed as one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.fake_replicate.predictions import Script
from examples.fake_replicate.server import Server
from examples.fake_replicate.trainer import TRAINER, split_command
from examples.fake_replicate.world import World


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fake_replicate", description="A stand-in for Replicate's HTTP API.")
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    parser.add_argument("--token", help="what clients must send; random when it isn't given")
    parser.add_argument("--trainer", default=TRAINER, metavar="COMMAND", help="runs for each prediction")
    parser.add_argument("--script", metavar="START,RUN", help="no trainer: seconds in starting, then in processing")
    parser.add_argument("--latency-ms", type=float, default=0.0, metavar="N", help="how long each answer takes")
    parser.add_argument("--parallel", type=int, default=4, metavar="N", help="trainers that run at the same time")
    parser.add_argument("--data", type=Path, metavar="DIR", help="for files and runs; removed at the end unless given")
    return parser.parse_args(arguments)


def read_script(text: str | None) -> Script | None:
    if text is None:
        return None
    start, _, run = text.partition(",")
    return Script(float(start), float(run or 0))


async def run(options: argparse.Namespace, data: Path) -> None:
    world = World(
        token=options.token,
        trainer=split_command(options.trainer),
        script=read_script(options.script),
        latency=options.latency_ms / 1000,
        data=data,
        parallel=options.parallel,
    )
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await Server(world, options.port).serve(lambda: announce(world), ending)


def announce(world: World) -> None:
    connection = {"url": world.url, "token": world.token, "webhook_secret": world.webhooks.secret}
    sys.stdout.write(json.dumps(connection) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    data = options.data or Path(tempfile.mkdtemp(prefix="fake-replicate-"))
    try:
        asyncio.run(run(options, data))
    finally:
        if options.data is None:
            shutil.rmtree(data, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
