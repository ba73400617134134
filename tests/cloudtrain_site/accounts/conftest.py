"""What the tests of the accounts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_q.conf import Conf

from tests.cloudtrain_site.accounts.inbox import Inbox


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any) -> Any:
    """A block after which the commit is made, and what it enqueued is done."""
    monkeypatch.setattr(Conf, "SYNC", True)

    def block() -> Any:
        return django_capture_on_commit_callbacks(execute=True)

    return block


@pytest.fixture
def as_alice(alice: User) -> Iterator[Client]:
    """Alice's browser."""
    client = Client()
    client.force_login(alice)
    yield client


@pytest.fixture
def quick_passwords(settings: Any) -> None:
    """Passwords that are hashed in no time, for tests that hash many. To be named before the people."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def inbox(settings: Any) -> Iterator[Inbox]:
    """The mail server that the site sends to."""
    received = Inbox()
    with received:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = received.host, received.port
        yield received
