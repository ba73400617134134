"""The site's own things that are kept for a time, in its registries."""

from __future__ import annotations

from cloudtrain_site import extensions
from cloudtrain_site.retention.runs import last_removal

LABELS = {
    "audit": "audit records",
    "events": "events",
    "sessions": "ended sessions",
    "tasks": "finished tasks",
    "loop_runs": "runs of loops",
    "notices": "notices",
}


def register_kept() -> None:
    """Register them. To be called once, when all apps are loaded."""
    for name, label in LABELS.items():
        extensions.kept.register(name, extensions.Kept(label, f"cloudtrain_site.retention.items.{name}"))
    nothing_wrong = extensions.HealthComponent(lambda: "", well=last_removal)
    extensions.health_components.register("retention", nothing_wrong)
