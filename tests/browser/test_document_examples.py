"""The JavaScript of the document on progress and sync, word for word, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from jobs import lifecycle
from jobs.models import Job, Organization, ProviderConfig
from jobs.providers.base import Snapshot
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse
from tests.factories import make_job

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

INLINE_PROGRESS = """
async function fetchInlineProgress() {
    const runningJobs = jobs.filter(j => j.status === 'running');

    for (const job of runningJobs) {
        try {
            const response = await fetch(
                `/api/cloud/jobs/${job.job_id}/inline-progress`
            );
            if (response.ok) {
                const data = await response.json();
                // Update job card with progress info
                job.inline_stage = data.stage;
                job.inline_log = data.last_log;
                job.inline_progress = data.progress;
            }
        } catch (error) {
            // Silently ignore - job may have completed
        }
    }
}

// Poll every 5 seconds
setInterval(fetchInlineProgress, 5000);
"""
LOAD_JOBS = """
// Load jobs with active status sync
async function loadJobs(syncActive = false) {
    const params = new URLSearchParams({
        limit: '50',
        provider: 'replicate',
    });
    if (syncActive) {
        params.set('sync_active', 'true');
    }
    const response = await fetch(`/api/cloud/jobs?${params}`);
    const data = await response.json();
    return data.jobs;
}

// Use sync_active during periodic refresh
setInterval(() => loadJobs(true), 30000);
"""
EVENTS = """
// Subscribe to SSE events
const eventSource = new EventSource('/api/events');

eventSource.addEventListener('message', (event) => {
    const data = JSON.parse(event.data);

    if (data.type === 'job_status_changed') {
        console.log(`Job ${data.job_id} is now ${data.status}`);
        // Refresh job list
        loadJobs();
    }
});
"""


def run(page: Page, program: str) -> None:
    """Run it as the page's own; what begins with a function would be called instead."""
    page.evaluate(f";{program}")


def test_the_examples_work_as_they_are_written(browse: Browse, alice: User, acme: Organization) -> None:
    ProviderConfig.objects.update_or_create(name="replicate", defaults={"enabled": True})
    fields: dict[str, Any] = {"organization": acme, "submitted_by": alice, "provider": "replicate"}
    job = make_job(**fields, status=JobStatus.RUNNING)
    progress = Progress(stage="Training", percent=30.0, last_log="Step 1500/5000 - loss: 0.0234")
    lifecycle.apply_snapshot(job, Snapshot("x", JobStatus.RUNNING, progress=progress), source="poll")
    page = browse(alice, "/api/docs")

    run(page, LOAD_JOBS)
    for sync_active in ("false", "true"):
        shown = page.evaluate(f"loadJobs({sync_active})")
        assert [(one["job_id"], one["status"]) for one in shown] == [(job.pk, "running")]

    page.evaluate("loadJobs().then(found => { window.jobs = found })")
    run(page, INLINE_PROGRESS)
    assert page.evaluate("fetchInlineProgress().then(() => jobs[0].inline_progress)") == 30.0
    assert page.evaluate("[jobs[0].inline_stage, jobs[0].inline_log]") == ["Training", progress.last_log]

    with page.expect_response("**/api/events"):
        run(page, EVENTS)
    with (
        page.expect_console_message(lambda message: message.text == f"Job {job.pk} is now completed"),
        page.expect_response(lambda response: response.url.endswith("/api/cloud/jobs?limit=50&provider=replicate")),
    ):
        lifecycle.apply_snapshot(Job.objects.get(), Snapshot("x", JobStatus.COMPLETED), source="poll")
