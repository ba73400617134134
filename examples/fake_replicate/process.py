"""A fake in a process of its own, for benches: its work and its memory are not those of what is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 60.0


class FakeReplicateProcess:
    """A running fake, steered over HTTP. Use it as a context manager, or call `stop`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fake Replicate ended with {process.wait(PATIENCE_SECONDS)}")
        connection = json.loads(line)
        self.url: str = connection["url"]
        self.token: str = connection["token"]
        self.webhook_secret: str = connection["webhook_secret"]
        self._client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)

    @classmethod
    def start(cls, *arguments: str) -> Self:
        """Start one with the command's arguments, such as "--latency-ms", "100"."""
        command = [sys.executable, "-m", "examples.fake_replicate", *arguments]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        return cls(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True))

    def stop(self) -> None:
        self._client.close()
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def state(self) -> dict[str, Any]:
        return dict(self._read("GET", "state"))

    def change(self, **fields: Any) -> dict[str, Any]:
        """Change script, latency_ms and the like, as the documentation of `control` says."""
        return dict(self._read("POST", "state", fields))

    def spoil(self, **fields: Any) -> dict[str, Any]:
        """Change the faults: calm, settings, rules, storm, seed."""
        return dict(self._read("POST", "faults", fields))

    def fill(self, count: int, **fields: Any) -> list[str]:
        """Add predictions without a life of their own, and return their ids."""
        return list(self._read("POST", "predictions", {"count": count, **fields}))

    def update(self, identifier: str, **fields: Any) -> None:
        self._read("POST", f"predictions/{identifier}", fields)

    def update_all(self, identifiers: list[str], per_second: float = 0, **fields: Any) -> None:
        """Begin to let the same happen to many, so many a second; it goes on after this returns."""
        self._read("POST", "moves", {"ids": identifiers, "per_second": per_second, **fields})

    def predictions(self) -> list[dict[str, Any]]:
        return list(self._read("GET", "predictions"))

    def _read(self, method: str, path: str, body: object = None) -> Any:
        response = self._client.request(method, f"/_fake/{path}", json=body)
        response.raise_for_status()
        return response.json()
