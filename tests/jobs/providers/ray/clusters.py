"""A provider for a Ray cluster, real or pretended, as the tests speak of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from cloudtrain_site.conf.providers import HardwareProfile, RayInstance, Secret
from jobs.providers.base import Handle, ProviderError, Snapshot
from jobs.providers.ray.provider import RayProvider
from jobs.statuses import TERMINAL
from tests.jobs.providers.local.trainings import make_spec
from tests.jobs.providers.ray.fake_ray import TOKEN
from tests.wait import wait_until

PROFILES = {
    "gpu": HardwareProfile("gpu", gpus=1),
    "gpu-x2": HardwareProfile("gpu-x2", gpus=2),
    "gpu-x8": HardwareProfile("gpu-x8", gpus=8),
    "cpu": HardwareProfile("cpu"),
}


class Cluster:
    def __init__(
        self,
        address: str,
        code: str = "print('step 1')",
        *,
        token: str = TOKEN,
        profiles: Mapping[str, HardwareProfile] = PROFILES,
        **options: Any,
    ) -> None:
        fields: dict[str, Any] = {"command": ("{python}", "-S", "-c", code), "grace_seconds": 5, **options}
        self.instance = RayInstance(
            name="ray-lab", label="Ray lab", address=address, token=Secret(token), hardware=profiles, **fields
        )
        self.provider = RayProvider(self.instance)

    def submit(self, profile: str = "cpu", **fields: Any) -> Handle:
        spec = make_spec(hardware_profile=profile, **fields)
        snapshot = asyncio.run(self.provider.submit(spec))
        return Handle(spec.job_id, snapshot.external_id, metadata=snapshot.metadata)

    def answer(self, handle: Handle, *, with_log: bool = False) -> Snapshot | ProviderError:
        async def ask() -> Snapshot | ProviderError:
            async for part in self.provider.fetch_parts([handle], with_logs=with_log):
                if handle.job_id in part:
                    return part[handle.job_id]
            raise AssertionError("no answer")

        return asyncio.run(ask())

    def fetch(self, handle: Handle, *, with_log: bool = False) -> Snapshot:
        answer = self.answer(handle, with_log=with_log)
        assert isinstance(answer, Snapshot), answer
        return answer

    def ended(self, handle: Handle, seconds: float = 30.0) -> Snapshot:
        """Return the training's last snapshot, as soon as it has ended."""

        def look() -> Snapshot | None:
            snapshot = self.fetch(handle)
            return snapshot if snapshot.status in TERMINAL else None

        snapshot = wait_until(look, seconds)
        assert snapshot
        return snapshot

    def log(self, handle: Handle) -> str:
        return self.fetch(handle, with_log=True).log or ""

    def cancel(self, handle: Handle) -> None:
        asyncio.run(self.provider.cancel(handle))

    def refusal(self, **options: Any) -> ProviderError:
        """Return the error of a submission."""
        try:
            self.submit(**options)
        except ProviderError as error:
            return error
        raise AssertionError("it was taken")
