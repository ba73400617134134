"""A real Chromium, and people in front of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect, sync_playwright

from approvals import intake
from approvals.intake import Outcome, SubmissionRequest
from approvals.models import ApprovalRule
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.configs.submission import Submission
from jobs.models import Job, Membership, Organization
from jobs.providers.base import Snapshot
from jobs.providers.progress import Progress
from jobs.statuses import JobStatus
from tests.factories import make_job
from tests.servers import find_binary, missing
from tests.web import session_cookies

HERE = Path(__file__).parent
SCREENSHOTS = HERE.parent.parent / "screenshots"
AXE = HERE / "vendor" / "axe-core-4.14.1" / "axe.min.js"
PROVIDER = Actor(name="local")

Browse = Callable[..., Page]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser; it ends with this package, since its event loop would be in the way of other tests."""
    # The shell draws the pages as the browser does, without windows and menus of its own, in half of the time.
    binary = find_binary("chromium-headless-shell") or find_binary("chromium")
    if not binary:
        missing("Chromium")
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    # Playwright's synchronous calls run inside an event loop, in which Django would refuse to query.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def complaints() -> list[str]:
    """What the browsers of a test complained about; whatever is in there at its end fails it."""
    return []


@pytest.fixture
def browse(chromium: Browser, web_server: str, complaints: list[str]) -> Iterator[Browse]:
    """Open a page as somebody (None: as nobody), each time in a browser of its own."""
    contexts: list[BrowserContext] = []

    def open_page(user: User | None, address: str = "/", **options: Any) -> Page:
        context = chromium.new_context(**{"base_url": web_server, "timezone_id": "Europe/Berlin", **options})
        contexts.append(context)
        if user is not None:
            context.add_cookies([{"name": n, "value": v, "url": web_server} for n, v in session_cookies(user).items()])
        page = context.new_page()
        page.set_default_timeout(10_000)
        expect.set_options(timeout=10_000)
        page.on("console", lambda message: _note(complaints, message))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _note(complaints: list[str], message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        complaints.append(f"{message.text} ({message.location.get('url')})")


def row(page: Page, job: Job) -> Locator:
    """The line of `job` in the list."""
    return page.locator(f"#job-{job.pk}")


def act(page: Page, job: Job, name: str) -> None:
    """Open the menu of the job's line in the list, and choose an action."""
    row(page, job).locator("summary").click()
    row(page, job).get_by_role("button", name=name).click()


def is_live(page: Page) -> Page:
    """Return when the page follows the event stream."""
    page.locator("#pulse[data-state=up]").wait_for()
    return page


def sign_in(page: Page, user: User) -> None:
    """Fill in the page that asks who one is."""
    page.get_by_label("User name").fill(user.username)
    page.get_by_label("Password").fill("unused-password")
    page.get_by_role("button", name="Sign in").click()


def open_own_menu(page: Page) -> Locator:
    """Open the menu behind the reader's name."""
    page.locator(".me").click()
    return page.locator("#own-menu")


def is_wider_than_the_window(page: Page) -> bool:
    """Whether one would have to scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def sticking_out(page: Page) -> list[str]:
    """The controls that reach over the edge of their card."""
    found: list[str] = (
        page.evaluate("""() => [...document.querySelectorAll(".card :is(input, select, textarea, button)")]
      .filter((one) => one.checkVisibility())
      .filter((one) => one.getBoundingClientRect().right > one.closest(".card").getBoundingClientRect().right)
      .map((one) => one.outerHTML.slice(0, 200))""")
    )
    return found


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page, for people to judge."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)


def violations(page: Page) -> list[str]:
    """What the accessibility checker finds wrong with the page as it is now."""
    # Injected as a program and not as a tag: our pages run no script but their own.
    page.evaluate(AXE.read_text())
    # Its preloading of stylesheets would write a style into the page, which our policy refuses.
    found = page.evaluate("async () => (await axe.run(document, {preload: false})).violations")
    return [f"{item['id']}: {node['html']} {node.get('failureSummary')}" for item in found for node in item["nodes"]]


@pytest.fixture
def hold_everything(db: None) -> ApprovalRule:
    """A rule that holds every job above fifty cents, and those without a price."""
    return ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))


@pytest.fixture
def submit() -> Callable[..., Outcome]:
    """Submit a job as somebody, by `intake.submit`."""

    def make(user: User, name: str = "flux-portraits", **fields: Any) -> Outcome:
        submission = Submission(
            **{
                "provider": "local",
                "config": {"max_train_steps": 100, "learning_rate": 1e-4},
                "config_name": name,
                "hardware_profile": "cpu",
                **fields,
            }
        )
        organization = Membership.objects.get(user=user).organization
        return intake.submit(SubmissionRequest(user, organization, submission, Source.API))

    return make


def start(job: Job) -> Job:
    """The provider trains it."""
    assert lifecycle.begin_submission(job)
    assert lifecycle.mark_submitted(
        job, Snapshot(external_id=f"local-{job.pk}", status=JobStatus.QUEUED), actor=PROVIDER
    )
    report(job, JobStatus.RUNNING)
    return job


def report(
    job: Job,
    status: JobStatus = JobStatus.RUNNING,
    percent: float | None = None,
    step: int | None = None,
    **fields: Any,
) -> None:
    """The provider says how it stands; `step` is one of 1000."""
    percent, total = (percent, None) if step is None else (step / 10, 1000)
    told = Progress(stage="Training", percent=percent, step=step, total=total, last_log=f"at {percent}")
    progress = None if percent is None else told
    snapshot = Snapshot(external_id=str(job.external_id), status=status, progress=progress, **fields)
    lifecycle.apply_snapshot(job, snapshot, source=Source.POLL)


def change_silently(job: Job, status: JobStatus) -> None:
    """Change the row and tell nobody: whoever shows it has looked again."""
    ended = None if status == JobStatus.RUNNING else timezone.now()
    Job.objects.filter(pk=job.pk).update(status=status, completed_at=ended)


def forgive(page: Page, complaints: list[str], *texts: str) -> None:
    """Close the page, whose last complaint may be on its way yet, and forget those that have one of `texts` in them."""
    page.close()
    complaints[:] = [text for text in complaints if not any(word in text for word in texts)]


@pytest.fixture
def busy_team(alice: User, bob: User, acme: Organization, submit: Callable[..., Outcome]) -> None:
    """A day's worth of jobs in every state, for the pictures."""
    now = timezone.now()

    def past(name: str, hours: float, took: float, **fields: Any) -> None:
        created = now - timedelta(hours=hours)
        started = created + timedelta(minutes=2)
        ended = {"completed_at": started + timedelta(minutes=took)}
        defaults = {"organization": acme, "submitted_by": alice, "config_name": name, "created_at": created}
        make_job(**{**defaults, "started_at": started, **ended, **fields})

    past("sdxl-product-shots", 71, 184, status="completed", cost_usd=Decimal("12.48"), provider="replicate",
         hardware_profile="gpu-a100-large", submitted_by=bob)  # fmt: skip
    past("flux-lora-kitchen", 26, 47, status="completed", cost_usd=Decimal("3.20"), provider="replicate",
         hardware_profile="gpu-l40s")  # fmt: skip
    past("flux-lora-kitchen-lr3e4", 25, 3, status="failed", provider="replicate", hardware_profile="gpu-l40s",
         cost_usd=Decimal("0.004"), error_message="CUDA out of memory. Tried to allocate 2.5 GiB (GPU 0; 44.53 GiB "
         "total; 41.02 GiB in use). Lower train_batch_size, or turn on gradient_checkpointing.\n"
         "  File \"train.py\", line 812, in main\n    loss.backward()")  # fmt: skip
    past("sd3-watercolour", 5, 12, status="completed", hardware_profile="cpu")
    rejected = submit(bob, "hunyuan-full-finetune").job
    lifecycle.request_cancel(rejected, actor=Actor.of(bob), source=Source.API, reason="wrong dataset")
    first = start(submit(alice, "flux-portraits").job)
    report(first, percent=42.4)
    Job.objects.filter(pk=first.pk).update(started_at=now - timedelta(minutes=9, seconds=12))
    start(submit(bob, "sana-1.6b-logo", provider="replicate", hardware_profile="gpu-t4").job)
    stopping = start(submit(alice, "pixart-sigma-textures").job)
    lifecycle.request_cancel(stopping, actor=Actor.of(alice), source=Source.API)
    submit(alice, "flux-portraits-rank64")
    ApprovalRule.objects.create(name="costly", cost_exceeds=Decimal("0.5"))
    submit(alice, "flux-full-finetune", provider="replicate", hardware_profile="gpu-h100")
