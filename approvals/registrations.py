"""The approvals' extensions of the rooms below."""

from __future__ import annotations

from approvals import dispatch_guard, health, notifications, personal_data, raises, reviewers
from approvals.dashboard import facet, job_panel, list_acts, views
from cloudtrain_site import extensions as site
from jobs import extensions as jobs
from queueing import extensions as queueing


def register_all() -> None:
    """Register all extensions. Called once, when all apps are loaded."""
    site.health_components.register(
        "approvals", site.HealthComponent(health.warning, well="Every pending request has enough reviewers.")
    )
    decidable = site.DoctorCheck("Can approvals be decided?", "approvals.rules.doctor.decidable", "docs/approvals.md")
    site.doctor_checks.register("approvals", decidable, order=230)
    keys = site.Kept("idempotency keys", "approvals.intake.remove_old_keys", always=True)
    site.kept.register("idempotency_keys", keys)
    site.loops.register(
        "approval expiration",
        site.LoopSpec("approvals.tasks.expire_approvals", lambda: 300.0, counts={"expired": "requests expired"}),
        order=40,
    )
    for name, (label, choice) in notifications.KINDS.items():
        concerns = reviewers.decides_anywhere if name in notifications.TO_REVIEWERS else None
        kind = site.NoticeKind(label, choice, notifications.prepare, concerns)
        site.notice_kinds.register(name, kind, order=10)
    jobs.facets.register("approvals", facet.approvals_of, order=20)
    jobs.panels.register("approval", jobs.Panel("approvals/_job_panel.html", job_panel.panel_for), order=20)
    jobs.navigation.register(
        "approvals-page",
        jobs.NavigationItem("Approvals", views.count_to_decide, of="to decide", events=views.EVENTS),
        order=30,
    )
    queueing.dispatch_guards.register(
        "approvals", queueing.DispatchGuard(dispatch_guard.check_approval, dispatch_guard.jobs_with_requests)
    )
    jobs.fuse_limits.register(
        "approvals", jobs.FuseLimit(raises.approved_up_to, raises.approved_cost, raises.locked_cost, raises.ask)
    )
    queueing.holds.register("approvals", facet.approval_holds)
    jobs.settings_sections.register("settings-rules", jobs.SettingsSection("Rules"), order=40)
    list_acts.register_all()
    personal_data.register_people()
