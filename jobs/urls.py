"""The URLs of the jobs room."""

from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import PathConverter
from rest_framework.routers import SimpleRouter

from jobs.api import (
    config_views,
    cost_views,
    curve_views,
    discovered_views,
    editor_views,
    key_views,
    metrics_views,
    notices_views,
    organization_views,
    service_account_views,
    views,
)
from jobs.api.channel_views import ChannelViewSet
from jobs.api.member_views import AuditViewSet, InvitationViewSet, MemberViewSet
from jobs.api.saved_view_views import SavedViewSet
from jobs.api.tag_views import TagViewSet
from jobs.compatibility.urls import urlpatterns as compatibility_urls
from jobs.dashboard import (
    account_views,
    compare_views,
    job_views,
    list_views,
    machines_views,
    new_job_views,
    palette,
    results_views,
    tag_views,
)
from jobs.dashboard.listing import act_views, view_views
from jobs.dashboard.notices.urls import urlpatterns as notices_urls
from jobs.dashboard.settings.urls import urlpatterns as settings_urls
from jobs.dashboard.site.urls import urlpatterns as site_urls
from jobs.datasets import views as upload_views
from jobs.outputs import views as output_views
from jobs.outputs.pin_views import OutputPin
from jobs.webhooks import views as webhook_views


class AnyPathConverter(PathConverter):
    """The path of a file that a trainer named: it may have line breaks, which Django's own converter doesn't match."""

    regex = r"[\s\S]+"


register_converter(AnyPathConverter, "any_path")
router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("api/cloud/jobs", views.JobViewSet, "job")
router.register("api/cloud/uploads", upload_views.UploadViewSet, "upload")
router.register("api/cloud/providers", config_views.ProviderViewSet, "provider")
router.register("api/configs", config_views.ConfigViewSet, "config")
router.register("api/organizations", organization_views.OrganizationViewSet, "organization")
ORGANIZATION = "api/organizations/<str:organization>"
router.register(f"{ORGANIZATION}/notice-channels", ChannelViewSet, "notice-channel")
SERVICE_ACCOUNTS = f"{ORGANIZATION}/service-accounts"
_accounts, _keys = service_account_views.ServiceAccountViewSet, service_account_views.ServiceKeyViewSet
service_account_urls = [
    path(SERVICE_ACCOUNTS, _accounts.as_view({"get": "list", "post": "create"}), name="service-accounts"),
    path(f"{SERVICE_ACCOUNTS}/<str:account>", _accounts.as_view({"delete": "destroy"}), name="service-account"),
    path(
        f"{SERVICE_ACCOUNTS}/<str:account>/keys",
        _keys.as_view({"get": "list", "post": "create"}),
        name="service-account-keys",
    ),
    path(
        f"{SERVICE_ACCOUNTS}/<str:account>/keys/<str:key_id>",
        _keys.as_view({"delete": "destroy"}),
        name="service-account-key",
    ),
]

urlpatterns = [
    path("", list_views.job_list, name="dashboard"),
    path("jobs/rows", list_views.job_rows, name="job-rows"),
    path("jobs/totals", list_views.job_totals, name="job-totals"),
    path("jobs/view", view_views.view_panel, name="list-view-panel"),
    path("jobs/columns", view_views.list_columns, name="list-columns"),
    path("jobs/views", view_views.new_view, name="saved-views"),
    path("jobs/views/<int:view_id>", view_views.delete_view, name="saved-view"),
    path("jobs/filters", list_views.list_panel, name="job-filters"),
    path("jobs/chosen/<slug:name>", act_views.chosen_jobs_act, name="chosen-jobs"),
    path("jobs/compare", compare_views.compare_page, name="compare-jobs"),
    path("jobs/compare/parts/<str:name>", compare_views.compare_part, name="compare-part"),
    path("jobs/new", new_job_views.new_job, name="new-job"),
    path("jobs/new/stored", new_job_views.stored_config, name="new-job-stored"),
    path("palette", palette.places, name="palette"),
    path("session", list_views.session, name="session"),
    path("places/<slug:name>", list_views.item_count, name="item-count"),
    path("jobs/<str:job_id>", job_views.overview, name="job-page"),
    path("jobs/<str:job_id>/log", job_views.log_tab, name="job-log"),
    path("jobs/<str:job_id>/curves", job_views.curves_tab, name="job-curves"),
    path("jobs/<str:job_id>/config", job_views.config_tab, name="job-config"),
    path("jobs/<str:job_id>/history", job_views.history_tab, name="job-history"),
    path("jobs/<str:job_id>/parts/<str:name>", job_views.job_part, name="job-part"),
    path("jobs/<str:job_id>/tags", tag_views.job_tags, name="job-tags"),
    path("jobs/<str:job_id>/note", tag_views.job_note, name="job-note"),
    path("jobs/<str:job_id>/log.txt", job_views.log_file, name="job-log-file"),
    path("jobs/<str:job_id>/config.json", job_views.config_file, name="job-config-file"),
    path("jobs/<str:job_id>/dataloader.json", job_views.dataloader_file, name="job-dataloader-file"),
    path("jobs/<str:job_id>/results", results_views.results_page, name="job-results"),
    path("jobs/<str:job_id>/results/now", results_views.results_now, name="job-results-now"),
    path("jobs/<str:job_id>/results/pin", results_views.pin_results, name="job-results-pin"),
    path("machines", machines_views.machines_page, name="machines-page"),
    path("machines/now", machines_views.machines_now, name="machines-now"),
    path("machines/<str:name>/refresh", machines_views.refresh_cluster, name="refresh-cluster"),
    path("account", account_views.account, name="account"),
    path("account/keys", account_views.keys, name="account-key-list"),
    path("account/export", account_views.export, name="account-export"),
    # By hand: a router would call the list as the page of the same keys is called.
    path("api/account/keys", key_views.KeyViewSet.as_view({"get": "list", "post": "create"}), name="account-keys"),
    path("api/account/keys/<str:key_id>", key_views.KeyViewSet.as_view({"delete": "destroy"}), name="account-key"),
    *service_account_urls,
    path("api/cloud/config-options", editor_views.ConfigOptions.as_view(), name="config-options"),
    path("api/cloud/config-conversion", editor_views.ConfigConversion.as_view(), name="config-conversion"),
    path("api/cloud/costs", cost_views.Costs.as_view(), name="costs"),
    path("api/cloud/costs.csv", cost_views.CostsCsv.as_view(), name="costs-csv"),
    path("api/cloud/ledger.csv", cost_views.LedgerCsv.as_view(), name="ledger-csv"),
    path("api/cloud/metrics", metrics_views.Metrics.as_view(), name="metrics"),
    path("api/cloud/replicate/status", metrics_views.ReplicateStatus.as_view(), name="replicate-status"),
    path("api/notices/deliveries", notices_views.Deliveries.as_view(), name="notice-deliveries"),
    *compatibility_urls,
    path("api/webhooks/<slug:provider>", webhook_views.receive, name="webhook"),
    path("api/cloud/jobs/<str:job_id>/metrics", curve_views.JobCurves.as_view(), name="job-metrics"),
    path("api/cloud/jobs/<str:job_id>/metrics.csv", curve_views.JobCurvesCsv.as_view(), name="job-metrics-csv"),
    path("api/cloud/jobs/<str:job_id>/outputs", output_views.OutputList.as_view(), name="job-outputs"),
    path("api/cloud/jobs/<str:job_id>/pin", OutputPin.as_view(), name="job-pin"),
    path("api/cloud/jobs/<str:job_id>/outputs.zip", output_views.OutputArchive.as_view(), name="job-outputs-zip"),
    path(
        "api/cloud/jobs/<str:job_id>/outputs/<any_path:path>",
        output_views.OutputContent.as_view(),
        name="job-output",
    ),
    *settings_urls,
    *notices_urls,
    *site_urls,
    path(f"{ORGANIZATION}/members", MemberViewSet.as_view({"get": "list", "post": "create"}), name="members"),
    path(
        f"{ORGANIZATION}/members/<str:user>",
        MemberViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
        name="member",
    ),
    path(
        f"{ORGANIZATION}/invitations",
        InvitationViewSet.as_view({"get": "list", "post": "create"}),
        name="organization-invitations",
    ),
    path(
        f"{ORGANIZATION}/invitations/<int:invitation_id>",
        InvitationViewSet.as_view({"delete": "destroy"}),
        name="organization-invitation",
    ),
    path(
        f"{ORGANIZATION}/discovered",
        discovered_views.DiscoveredViewSet.as_view({"get": "list"}),
        name="organization-discovered",
    ),
    path(
        f"{ORGANIZATION}/discovered/<str:job_id>",
        discovered_views.DiscoveredViewSet.as_view({"post": "create"}),
        name="organization-discovered-job",
    ),
    path("api/cloud/views", SavedViewSet.as_view({"get": "list", "post": "create"}), name="own-views"),
    path("api/cloud/views/<int:view_id>", SavedViewSet.as_view({"delete": "destroy"}), name="own-view"),
    path(f"{ORGANIZATION}/tags", TagViewSet.as_view({"get": "list", "post": "create"}), name="organization-tags"),
    path(
        f"{ORGANIZATION}/tags/<str:tag>",
        TagViewSet.as_view({"patch": "partial_update", "delete": "destroy"}),
        name="organization-tag",
    ),
    path(f"{ORGANIZATION}/audit", AuditViewSet.as_view({"get": "list"}), name="organization-audit"),
    *router.urls,
    # As SimpleTuner's command line asks. Last, since one of its names would be the jobs'.
    path("api/cloud/<str:name>/validate", config_views.ProviderViewSet.as_view({"get": "validate"}), name="validate"),
]
