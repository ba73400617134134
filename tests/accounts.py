"""Two accounts at Replicate for the tests, each at a stand-in server of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from examples.fake_replicate import FakeReplicate, Script
from jobs.providers.replicate import provider as replicate_provider
from queueing import claims
from tests.configuration import WriteConfig

Accounts = Mapping[str, FakeReplicate]

#: What stays as it is until the test says otherwise.
_STILL = Script(start=3600)


def declared(server: FakeReplicate, keys: str = "") -> str:
    """The configuration of `studio`, an account at `server`."""
    text = f"providers:\n  studio:\n    kind: replicate\n    label: The studio's account\n    address: {server.url}\n"
    return f"{text}    token: ${{STUDIO_ACCOUNT}}\n{keys}"


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch, write_config: WriteConfig) -> Iterator[Accounts]:
    """The one of the environment, `replicate`, and the one that the configuration file declares, `studio`."""
    monkeypatch.setattr(replicate_provider, "_versions", {})
    monkeypatch.setattr(claims, "_paused_until", {})
    with (
        FakeReplicate.start(token="r8_of-the-environment", script=_STILL) as first,
        FakeReplicate.start(token="r8_of-the-studio", script=_STILL) as second,
    ):
        monkeypatch.setenv("REPLICATE_API_TOKEN", first.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", first.url)
        monkeypatch.setenv("STUDIO_ACCOUNT", second.token)
        write_config(declared(second))
        yield {"replicate": first, "studio": second}
