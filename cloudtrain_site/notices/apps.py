"""The app of the notices, with tables of its own."""

from __future__ import annotations

from django.apps import AppConfig


class NoticesConfig(AppConfig):
    name = "cloudtrain_site.notices"
    label = "notices"
    verbose_name = "Notices"

    def ready(self) -> None:
        from cloudtrain_site.notices import registrations

        registrations.register_all()
