"""Addresses of the approvals room. It comes first: a submission enters here, beside the other job addresses."""

from __future__ import annotations

from django.urls import path

from approvals import pages, preview_views, rule_views, views

urlpatterns = [
    path("approvals", pages.approvals_page, name="approvals-page"),
    path("approvals/now", pages.approvals_now, name="approvals-now"),
    path("api/cloud/jobs/submit", views.SubmitJob.as_view(), name="job-submit"),
    path("api/cloud/jobs/<str:job_id>/retry", views.RetryJob.as_view(), name="job-retry"),
    path("api/approvals", views.ApprovalList.as_view(), name="approval-list"),
    path("api/approvals/rules", rule_views.RuleList.as_view(), name="rule-list"),
    path("api/approvals/rules/preview", preview_views.RulePreview.as_view(), name="rule-preview"),
    path("api/approvals/rules/<int:rule_id>", rule_views.RuleDetail.as_view(), name="rule-detail"),
    path("api/approvals/bulk-approve", views.BulkApprove.as_view(), name="approval-bulk-approve"),
    path("api/approvals/bulk-reject", views.BulkReject.as_view(), name="approval-bulk-reject"),
    path("api/approvals/<int:request_id>", views.ApprovalDetail.as_view(), name="approval-detail"),
    path("api/approvals/<int:request_id>/approve", views.ApproveRequest.as_view(), name="approval-approve"),
    path("api/approvals/<int:request_id>/reject", views.RejectRequest.as_view(), name="approval-reject"),
    path("api/approvals/<int:request_id>/cancel", views.CancelRequest.as_view(), name="approval-cancel"),
    path("api/queue/<str:job_id>/approve", views.ApproveQueued.as_view(), name="queue-approve"),
    path("api/queue/<str:job_id>/reject", views.RejectQueued.as_view(), name="queue-reject"),
]
