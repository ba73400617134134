"""The jobs room, and Django's admin as the organizations need it."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class JobsConfig(AppConfig):
    """Wires the room's receivers, and plugs it into the rooms below."""

    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Once every app's models are there."""
        from jobs import receivers, registrations  # noqa: F401 - the receivers connect themselves

        registrations.register_all()


class CloudtrainAdminConfig(AdminConfig):
    """The admin, opened to the leads and admins of organizations too."""

    default_site = "jobs.admin_base.CloudtrainAdminSite"
