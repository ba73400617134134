"""The jobs room, and Django's admin for organizations."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.core import checks


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        from jobs import receivers, registrations  # noqa: F401 - the receivers connect themselves
        from jobs.checks import check_option_lists, check_prices
        from jobs.outputs import receivers as of_outputs  # noqa: F401

        registrations.register_all()
        checks.register(check_prices, "configuration")
        checks.register(check_option_lists, "configuration")


class CloudtrainAdminConfig(AdminConfig):
    """The admin, also for leads and admins of organizations."""

    default_site = "jobs.admin_base.CloudtrainAdminSite"
