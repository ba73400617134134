"""What the tests of webhooks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from examples.fake_replicate import FakeReplicate
from jobs.webhooks import inbox, signing_secret
from tests.jobs.webhooks.deliveries import URL, Deliver, sign


@pytest.fixture
def secret(fake: FakeReplicate, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a Replicate that has not told anything lately."""
    monkeypatch.setattr(inbox, "_burst", inbox._Burst())
    signing_secret.clear_cache()
    yield fake.webhook_secret
    signing_secret.clear_cache()


@pytest.fixture
def deliver(secret: str, db: None) -> Deliver:
    """Deliver a body, signed now unless the test gives headers of its own. The status of the answer."""

    def send(body: bytes, *, query: str = "", delivery: str = "msg_1", headers: dict[str, str] | None = None) -> int:
        signed = sign(body, secret, delivery=delivery) if headers is None else headers
        answer = Client().post(f"{URL}{query}", body, content_type="application/json", headers=signed)
        return answer.status_code

    return send
