"""The jobs' parts of the site's registries."""

from __future__ import annotations

from cloudtrain_site import extensions as site
from cloudtrain_site.enterprise import get_enterprise_config
from jobs import extensions, health, permissions
from jobs.configs.secrets import masked_json
from jobs.costs import accounts, metrics
from jobs.dashboard import fuse_panel, machines_views
from jobs.dashboard.listing import acts
from jobs.dashboard.navigation import page_context
from jobs.dashboard.settings import frame
from jobs.dashboard.site import frame as site_frame
from jobs.datasets import store
from jobs.datasets.upload_handler import UploadTooLarge
from jobs.fuses import burns, watch
from jobs.notices import ended, readers
from jobs.organizations import personal_data, service_accounts, sign_on
from jobs.outputs import retention
from jobs.providers.runner.records import CONFIG, DATALOADER
from jobs.statuses import JobStatus
from jobs.sync import waiting
from jobs.tags import tagging

#: The ends of a job that there are notices of, with their labels on the settings pages.
ENDS = {
    JobStatus.COMPLETED: "A job of mine completed",
    JobStatus.FAILED: "A job of mine failed",
    JobStatus.CANCELLED: "Somebody else cancelled a job of mine",
}

#: What the counts of the upkeep count.
UPKEEP = {
    "prices": "prices noted",
    "refreshed": "jobs refreshed",
    "cancels": "cancellations requested again",
    "logs": "logs fetched",
    "deliveries": "webhook deliveries applied",
    "datasets": "files of datasets removed",
    "settled": "costs of jobs settled",
    "results": "results looked after",
    "curves": "trainings whose curves are kept",
    "cleared": "deleted jobs whose files were removed",
    "days": "days summed up",
    "costs": "days and months of costs summed up",
    "counted": "database tables analyzed",
}


def register_all() -> None:
    """Register them. To be called once, when all apps are loaded."""
    _register_data()
    acts.register_all()
    site.collectors.register("jobs", metrics.collect)
    site.health_components.register(
        "webhooks", site.HealthComponent(health.lost_webhooks, well="None is known to be lost.")
    )
    site.health_components.register(
        "replicate", site.HealthComponent(health.replicate_outage, well="No outage is known.")
    )
    site.health_components.register("clusters", site.HealthComponent(health.clusters_away, well="All answer."))
    site.health_components.register(
        "declared providers", site.HealthComponent(health.declared_outages, well="No outage is known.")
    )
    site.health_components.register(
        "discovered jobs", site.HealthComponent(health.unassigned_jobs, well="All belong to an organization.")
    )
    site.health_components.register("results", site.HealthComponent(lambda: "", well=retention.usage_as_text))
    site.loops.register(
        "job status polling",
        site.LoopSpec(
            "jobs.tasks.poll_jobs",
            lambda: get_enterprise_config().job_polling_interval,
            is_enabled="jobs.tasks.polling_enabled",
            started="Starting job status polling",
            stopped="Stopping job status polling",
            counts={"refreshed": "jobs refreshed", "failed": "jobs without an answer"},
        ),
        order=20,
    )
    site.loops.register("job upkeep", site.LoopSpec("jobs.tasks.keep_up", lambda: 30.0, counts=UPKEEP), order=30)
    site.loops.register(
        "cluster looks",
        site.LoopSpec(
            "jobs.tasks.look_at_clusters",
            lambda: 30.0,
            is_enabled="jobs.tasks.has_clusters",
            counts={"seen": "clusters that answered", "failed": "clusters without an answer"},
        ),
        order=35,
    )
    site.kept.register("deliveries", site.Kept("webhook deliveries", "jobs.webhooks.inbox.trim"))
    site.kept.register("logs", site.Kept("logs", "jobs.retention.logs.remove_old"))
    site.kept.register("uploads", site.Kept("unused datasets", "jobs.datasets.store.remove_unused"))
    site.kept.register("jobs", site.Kept("ended jobs", "jobs.retention.ended_jobs.remove_old"))
    site.kept.register("outputs", site.Kept("results of trainings", "jobs.outputs.retention.run", always=True))
    site.watchers.register("local trainings", site.Watcher("jobs.tasks.watch_local_trainings", seconds=0.2))
    site.request_limits.register(
        "/api/cloud/uploads",
        site.RequestLimit(store.UPLOAD_LIMIT_BYTES + store.FORM_BYTES, UploadTooLarge.default_detail),
    )
    site.frames.register("dashboard", page_context)
    site.role_followers.register("organizations", sign_on.follow_roles)
    site.programs.register("service accounts", service_accounts.is_service_account)
    site.second_factor_demands.register("organizations", permissions.demanding_organizations)
    extensions.facets.register("costs", accounts.facet)
    extensions.facets.register("tags", tagging.facet)
    extensions.panels.register(
        "fuse", extensions.Panel("dashboard/_fuse_panel.html", fuse_panel.panel_for, on_top=False), order=30
    )
    words = {"warned": "jobs near their cost limit", "asked": "higher limits requested", "cancelled": "jobs cancelled"}
    site.loops.register(
        "fuses", site.LoopSpec("jobs.tasks.check_fuses", lambda: burns.CHECK_SECONDS, counts=words), order=25
    )
    site.notice_kinds.register(watch.WARNING, site.NoticeKind("A job of mine nears its cost limit"), order=45)
    site.notice_kinds.register(retention.NOTICE, site.NoticeKind("Files of a job of mine will be removed"), order=46)
    for status, label in ENDS.items():
        site.notice_kinds.register(f"job_{status}", site.NoticeKind(label, prepare=ended.prepare))
    site.notice_readers.register("members", readers.still_members)
    extensions.facets.register("waiting at the provider", waiting.facet)
    extensions.navigation.register("dashboard", extensions.NavigationItem("Jobs"), order=10)
    extensions.navigation.register(
        "settings", extensions.NavigationItem("Settings", frame.for_admins, prefix="settings-"), order=50
    )
    extensions.navigation.register(
        "machines-page", extensions.NavigationItem("Machines", machines_views.for_superusers), order=60
    )
    extensions.navigation.register(
        "site", extensions.NavigationItem("Site", site_frame.for_superusers, prefix="site-"), order=70
    )
    _register_settings()
    _register_doctor()
    personal_data.register_people()


def _register_doctor() -> None:
    """Register this room's checks of the deployment, which are loaded when they are asked."""
    checks = (
        (185, "provider-clocks", "Do the providers' clocks agree?", "providers.clocks", "providers.md"),
        (190, "providers", "Do the providers accept our credentials?", "providers.credentials", "providers.md"),
        (200, "webhooks", "Do webhooks arrive?", "webhooks.deliveries", "providers.md"),
        (210, "clusters", "Can the clusters run their profiles?", "providers.clusters", "clusters.md"),
        (220, "prices", "Are prices known and recent?", "money.prices", "costs.md"),
        (240, "ledger", "Does the ledger agree with the jobs?", "money.ledger", "costs.md"),
        (260, "shared-folders", "Are shared folders shared?", "shared_folders.are_shared", "clusters.md"),
    )
    for order, name, question, function, page in checks:
        check = site.DoctorCheck(question, f"jobs.doctor.{function}", f"docs/{page}", site.NEEDS_CONFIGURATION)
        site.doctor_checks.register(name, check, order=order)
    site.watchers.register("shared folders", site.Watcher("jobs.doctor.shared_folders.leave_marks", seconds=60.0))
    site.sealed_columns.register("jobs.Job.sealed", "the secrets of jobs")
    site.sealed_columns.register("jobs.TrainingConfig.sealed", "the secrets of stored configs")


def _register_data() -> None:
    """Register this room's parts of the data folder."""
    add = site.data_parts.register
    add("outputs", site.DataPart("what trainings wrote", ("jobs/*/output", "outputs")))
    add("uploads", site.DataPart("datasets", ("uploads", "jobs/*/dataset")))
    add("logs", site.DataPart("logs of trainings on this machine", ("jobs/*/train.log",)))
    add("thumbnails", site.DataPart("small copies of pictures", ("thumbnails",), is_kept=False))
    drafts = (
        "uploads/incoming",
        "jobs/*/dataset.*",
        *(f"jobs/*/{name}.*" for name in (CONFIG, DATALOADER)),
        "jobs/*/exit.json.*",
    )
    add("drafts", site.DataPart("what is being made", drafts, is_kept=False))
    # Their secrets stand in them while the job trains; the database has them sealed.
    configs = tuple(f"jobs/*/{name}" for name in (CONFIG, DATALOADER))
    add("configs", site.DataPart("configs of trainings on this machine", configs, rewrite=masked_json))


def _register_settings() -> None:
    """Register this room's sections of an organization's settings. Rooms above put theirs between them."""
    section = extensions.SettingsSection
    extensions.settings_sections.register("settings-general", section("General"), order=10)
    extensions.settings_sections.register("settings-members", section("Members", for_members=True), order=20)
    extensions.settings_sections.register("settings-service-accounts", section("Service accounts"), order=30)
    extensions.settings_sections.register("settings-configs", section("Stored configs", for_members=True), order=50)
    extensions.settings_sections.register("settings-results", section("Results", for_members=True), order=60)
    extensions.settings_sections.register("settings-tags", section("Tags", for_members=True), order=55)
    extensions.settings_sections.register("settings-notices", section("Notices"), order=70)
    extensions.settings_sections.register("settings-discovered", section("Discovered jobs"), order=80)
    extensions.settings_sections.register("settings-history", section("History"), order=90)
