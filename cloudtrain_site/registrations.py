"""What the site itself plugs into its extension points."""

from __future__ import annotations

from cloudtrain_site import extensions
from cloudtrain_site.monitoring import prometheus


def register_all() -> None:
    """To be called once, when all apps are there."""
    extensions.collectors.register("loops", prometheus.collect_loops)
    extensions.loops.register(
        "housekeeping", extensions.LoopSpec("cloudtrain_site.tasks.housekeep", lambda: 3600.0), order=50
    )
