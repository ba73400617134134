"""Addresses of the approvals. They come before the jobs': submissions share the jobs' addresses."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from approvals.api import approval_views, rule_views, submission_views
from approvals.dashboard import first_visit, plain_submission_views, several_views, views
from approvals.dashboard import rule_views as rule_pages

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("api/cloud/jobs", submission_views.SubmissionViewSet, "job")
router.register("api/approvals/rules", rule_views.RuleViewSet, "rule")
router.register("api/approvals", approval_views.ApprovalViewSet, "approval")
router.register("api/queue", submission_views.QueueSubmissionViewSet, "queue-submission")
router.register("api/queue", approval_views.QueueDecisionViewSet, "queue")

RULES = "organizations/<slug:organization>/settings/rules"

urlpatterns = [
    path("first-visit/organization", first_visit.first_organization, name="first-organization"),
    path("first-visit/job", first_visit.first_job, name="first-job"),
    path("first-visit/<str:token>", first_visit.first_account, name="first-account"),
    path("jobs/new/submit", plain_submission_views.submit_form, name="submit-form"),
    path("approvals", views.approvals_page, name="approvals-page"),
    path("approvals/now", views.approvals_now, name="approvals-now"),
    path("approvals/decide", several_views.decide_several, name="decide-several"),
    path(RULES, rule_pages.rules, name="settings-rules"),
    path(f"{RULES}/new", rule_pages.new_rule, name="settings-new-rule"),
    path(f"{RULES}/<int:rule_id>", rule_pages.rule, name="settings-rule"),
    path(f"{RULES}/<int:rule_id>/switch", rule_pages.switch_rule, name="settings-switch-rule"),
    path(f"{RULES}/<int:rule_id>/delete", rule_pages.delete_rule, name="settings-delete-rule"),
    *router.urls,
]
