"""The queue's extensions of the rooms below."""

from __future__ import annotations

from cloudtrain_site import extensions as site
from cloudtrain_site.enterprise import get_enterprise_config
from jobs import extensions as jobs
from queueing import operations, statistics
from queueing.budgets import banners, gauges, watch
from queueing.dashboard import job_panel
from queueing.waiting import positions


def register_all() -> None:
    """Register all extensions. Called once, when all apps are loaded."""
    site.collectors.register("queue", statistics.collect)
    site.collectors.register("budgets", gauges.collect)
    site.loops.register(
        "queue processing",
        site.LoopSpec(
            "queueing.tasks.process_queue",
            lambda: get_enterprise_config().queue_interval,
            started="Queue scheduler started",
            start_failed="Failed to start queue processing",
            counts={"dispatched": "jobs sent to providers"},
        ),
        order=10,
    )
    words = {"reached": "thresholds reached", "warned": "warnings about running jobs", "cancelled": "jobs cancelled"}
    site.loops.register("budgets", site.LoopSpec("queueing.tasks.watch_budgets", lambda: 30.0, counts=words), order=15)
    site.notice_kinds.register(watch.THRESHOLD, site.NoticeKind("A budget of mine is nearly spent"), order=40)
    site.watchers.register("dataset transfers", site.Watcher("queueing.tasks.transfer_datasets", seconds=1.0))
    jobs.facets.register("queueing", positions.positions_of, order=10)
    jobs.panels.register("queue", jobs.Panel("queueing/_job_panel.html", job_panel.panel_for), order=10)
    jobs.navigation.register("queue-page", jobs.NavigationItem("Queue"), order=20)
    jobs.navigation.register("spend-page", jobs.NavigationItem("Spend", prefix="budget"), order=35)
    jobs.navigation.register("metrics-page", jobs.NavigationItem("Metrics"), order=40)
    jobs.settings_sections.register("settings-limits", jobs.SettingsSection("Limits"), order=30)
    jobs.settings_sections.register("settings-budgets", jobs.SettingsSection("Budgets", for_members=True), order=35)
    jobs.banners.register("budgets", banners.banners_for)
    jobs.organization_limits.register("max_running", operations.set_own_limit)
    in_flight = site.DoctorCheck(
        "Is the state of all paid jobs known?",
        "queueing.doctor.money_in_flight",
        "docs/queue.md",
        site.NEEDS_CONFIGURATION,
    )
    site.doctor_checks.register("in-flight", in_flight, order=250)
    # The backup doesn't know which jobs were started after it was made, so the queue would start them again.
    site.restore_statements.register("pause", "UPDATE queueing_queuestate SET paused = true")
    _register_people()


def _register_people() -> None:
    """Register where this room's tables have people's names, and what stays when a person is removed."""
    site.named_in.register("queueing.QueueEntry", site.NamedIn("queueing.QueueEntry", sentences=("last_error",)))
    site.kept_of_person.register("queueing.QueueEntry.user", "places in the queue")
    site.kept_of_person.register("queueing.Budget.user", "budgets")
