"""The receivers of the notices' own tests."""

from __future__ import annotations

from tests.cloudtrain_site.notices.conftest import mail_server, webhook_receiver

__all__ = ["mail_server", "webhook_receiver"]
