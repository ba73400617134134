"""The notices' parts of the site's registries."""

from __future__ import annotations

from cloudtrain_site import extensions as site
from cloudtrain_site.notices import channels, health, outbox

INVITATION = "invitation"


def register_all() -> None:
    """Register them. Called once, when all apps are loaded."""
    sender = site.LoopSpec("cloudtrain_site.notices.tasks.deliver", lambda: 10.0, counts={"sent": "notices sent"})
    site.loops.register(outbox.LOOP, sender, order=45)
    site.health_components.register("notices", site.HealthComponent(health.what_is_wrong, well=health.in_numbers))
    site.notice_kinds.register(channels.TEST, site.NoticeKind())
    site.notice_kinds.register(INVITATION, site.NoticeKind())
    site.sealed_columns.register("notices.Notice.sealed_address", "the addresses of jobs' webhooks")
    site.sealed_columns.register("notices.Channel.sealed_secrets", "the secrets of channels")
    site.sealed_columns.register("notices.Channel.sealed_address", "the addresses of channels")
