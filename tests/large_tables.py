"""The tables that grow with the jobs."""

from __future__ import annotations

#: What pages, lists and loops read: not from end to end, see test_query_plans.py.
LARGE = {
    *("jobs_job", "jobs_jobevent", "jobs_ledgerentry", "jobs_jobaccount", "jobs_daycost", "jobs_costsum"),
    *("jobs_jobtag", "approvals_approvalrequest", "approvals_requirement", "approvals_decision", "queueing_queueentry"),
    *("cloudtrain_site_auditrecord", "notices_notice", "notices_delivery"),
}
#: And what is read by a key alone, or goes again.
GROWING = LARGE | {
    *("jobs_logpiece", "jobs_idempotencykey", "jobs_webhookdelivery", "jobs_outputfetch", "jobs_storedoutput"),
    "django_eventstream_event",
}
