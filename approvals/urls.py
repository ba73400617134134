"""Addresses of the approvals. They come before the jobs': submissions share the jobs' addresses."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from approvals.api import approval_views, rule_views, submission_views
from approvals.dashboard import views

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("api/cloud/jobs", submission_views.SubmissionViewSet, "job")
router.register("api/approvals/rules", rule_views.RuleViewSet, "rule")
router.register("api/approvals", approval_views.ApprovalViewSet, "approval")
router.register("api/queue", submission_views.QueueSubmissionViewSet, "queue-submission")
router.register("api/queue", approval_views.QueueDecisionViewSet, "queue")

urlpatterns = [
    path("approvals", views.approvals_page, name="approvals-page"),
    path("approvals/now", views.approvals_now, name="approvals-now"),
    *router.urls,
]
