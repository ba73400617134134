"""Real receivers: an SMTP server and an HTTP server of the tests' own, and a sender that runs at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudtrain_site.extensions import NoticeKind, notice_kinds
from tests.cloudtrain_site.notices.receivers import MailReceiver, WebhookReceiver


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kinds of the tests' own, which can be muted together."""
    monkeypatch.setitem(notice_kinds._entries, "tide", (0, NoticeKind("The tide turns", "sea")))
    monkeypatch.setitem(notice_kinds._entries, "storm", (0, NoticeKind("A storm comes", "sea")))


@pytest.fixture
def mail_server(settings: object) -> Iterator[MailReceiver]:
    """A real mail server, which Django's settings name."""
    with MailReceiver() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # type: ignore[attr-defined]
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.host, server.port  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def webhook_receiver(settings: object) -> Iterator[WebhookReceiver]:
    """A real web server, in a network that the operator has allowed."""
    settings.NOTICE_NETWORKS = ["127.0.0.0/8"]  # type: ignore[attr-defined]
    with WebhookReceiver() as receiver:
        yield receiver
