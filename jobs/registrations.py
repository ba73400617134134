"""What the jobs plug into the site."""

from __future__ import annotations

from cloudtrain_site import extensions as site
from jobs import extensions, health, metrics
from jobs.datasets import store
from jobs.datasets.upload_handler import UploadTooLarge


def register_all() -> None:
    """To be called once, when all apps are there."""
    site.collectors.register("jobs", metrics.collect)
    site.health_components.register(
        "webhooks", site.HealthComponent(health.lost_webhooks, well="None is known to be lost.")
    )
    site.health_components.register(
        "replicate", site.HealthComponent(health.replicate_outage, well="No outage is known.")
    )
    site.request_limits.register(
        "/api/cloud/uploads",
        site.RequestLimit(store.UPLOAD_LIMIT_BYTES + store.FORM_BYTES, UploadTooLarge.default_detail),
    )
    extensions.navigation.register("dashboard", extensions.NavigationItem("Jobs"), order=10)
