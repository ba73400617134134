"""Addresses of the approvals room. It comes first: a submission enters here, beside the other job addresses."""

from __future__ import annotations

from django.urls import path

from approvals.api import approval_views, rule_views, submission_views
from approvals.dashboard import views

urlpatterns = [
    path("approvals", views.approvals_page, name="approvals-page"),
    path("approvals/now", views.approvals_now, name="approvals-now"),
    path("api/cloud/jobs/submit", submission_views.SubmitJob.as_view(), name="job-submit"),
    path("api/cloud/jobs/<str:job_id>/retry", submission_views.RetryJob.as_view(), name="job-retry"),
    path("api/approvals", approval_views.ApprovalList.as_view(), name="approval-list"),
    path("api/approvals/rules", rule_views.RuleList.as_view(), name="rule-list"),
    path("api/approvals/rules/preview", rule_views.RulePreview.as_view(), name="rule-preview"),
    path("api/approvals/rules/<int:rule_id>", rule_views.RuleDetail.as_view(), name="rule-detail"),
    path("api/approvals/bulk-approve", approval_views.BulkApprove.as_view(), name="approval-bulk-approve"),
    path("api/approvals/bulk-reject", approval_views.BulkReject.as_view(), name="approval-bulk-reject"),
    path("api/approvals/<int:request_id>", approval_views.ApprovalDetail.as_view(), name="approval-detail"),
    path("api/approvals/<int:request_id>/approve", approval_views.ApproveRequest.as_view(), name="approval-approve"),
    path("api/approvals/<int:request_id>/reject", approval_views.RejectRequest.as_view(), name="approval-reject"),
    path("api/approvals/<int:request_id>/cancel", approval_views.CancelRequest.as_view(), name="approval-cancel"),
    path("api/queue/<str:job_id>/approve", approval_views.ApproveQueued.as_view(), name="queue-approve"),
    path("api/queue/<str:job_id>/reject", approval_views.RejectQueued.as_view(), name="queue-reject"),
]
