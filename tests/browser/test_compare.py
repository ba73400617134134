"""Jobs side by side, in a browser: chosen in the list or in a tree, by two of a team; and a stranger."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from PIL import Image
from playwright.sync_api import Page, expect

from cloudtrain_site.states import SYSTEM, Source
from jobs.models import Job
from jobs.outputs import thumbnails
from jobs.outputs.thumbnails import LARGE
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, row, violations
from tests.jobs.pictures import output_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
BAR = (
    "Epoch 1/1, Steps:  42%|####2     | {step}/400 [{minutes:02d}:{seconds:02d}<00:14,  1.0it/s, lr={rate}, "
    "step_loss={loss:.4f}]\n"
)
PICTURE = "step_{step}_a_lighthouse_on_a_cliff_in_the_style_of_a_woodcut_320x320.png"
RATES = (1e-4, 5e-5, 2e-4)


@pytest.fixture
def runs(make_job: Callable[..., Job], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Three runs of one tree with other rates, each with a log and pictures."""
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(thumbnails, "async_task", lambda *arguments: None)
    jobs: list[Job] = []
    for number, rate in enumerate(RATES, start=1):
        job = make_job(
            config_name="flux-portraits" if number == 1 else f"flux-portraits-{number}",
            config={"model_family": "flux", "max_train_steps": 400, "learning_rate": rate},
            status=JobStatus.COMPLETED,
            started_at=timezone.now(),
            step=400,
            total_steps=400,
            cost_usd=Decimal(number),
            parent=jobs[0] if jobs else None,
            root=jobs[0] if jobs else None,
            changes={"total": 1, "items": [{"path": "learning_rate", "before": RATES[0], "after": rate}]},
        )
        Job.objects.filter(pk=job.pk).update(external_id=job.pk)
        write_results(output_of(job, tmp_path), number, rate)
        job.refresh_from_db()
        thumbnails.make_thumbnails(job, [f"validation_images/{PICTURE.format(step=400)}"], LARGE)
        jobs.append(job)
    return jobs


def write_results(output: Path, number: int, rate: float) -> None:
    (output / "validation_images").mkdir(parents=True)
    for step in (200, 400):
        picture = Image.new("RGB", (320, 320), (60 * number, step // 2, 160))
        picture.save(output / "validation_images" / PICTURE.format(step=step))
    lines = [
        BAR.format(
            step=step,
            minutes=step * number // 60,
            seconds=step * number % 60,
            rate=rate,
            loss=0.2 + math.exp(-step * rate * 150) / 2 + math.sin(step / 3 * number) / 40,
        )
        for step in range(1, 401)
    ]
    (output.parent / "train.log").write_text("".join(lines))


def choose(page: Page, *jobs: Job) -> None:
    for job in jobs:
        row(page, job).get_by_role("checkbox").check()


def test_three_of_the_list_are_chosen_by_keyboard_and_the_address_is_sent_to_another(
    browse: Browse, alice: User, bob: User, charlie: User, runs: list[Job], complaints: list[str]
) -> None:
    page = is_live(browse(alice))
    button = page.get_by_role("button", name="Compare", exact=True)
    expect(button).to_be_hidden()
    for job in runs:
        row(page, job).get_by_role("checkbox").focus()
        page.keyboard.press("Space")
    expect(page.get_by_text("3 chosen")).to_be_visible()
    keep(page, "compare-choice")
    assert not violations(page)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Compare 3 jobs")).to_be_visible()
    expect(page.locator("#plots figure").first).to_contain_text("Loss")
    differences = page.get_by_role("region", name="Config differences")
    expect(differences.locator("tbody tr")).to_have_count(1)
    expect(differences.locator("tbody td")).to_have_text(["1e-4", "5e-5", "2e-4"], use_inner_text=True)
    expect(page.get_by_role("region", name="Pictures").get_by_role("img")).to_have_count(3)
    page.get_by_label("By time").check()
    assert "by=time" in page.url
    keep(page, "compare")
    assert not violations(page)

    theirs = browse(bob, page.url)
    expect(theirs.get_by_label("By time")).to_be_checked()
    expect(theirs.locator("#plots canvas").first).to_be_visible()

    stranger = browse(charlie, page.url)
    expect(stranger.get_by_text("flux-portraits")).to_have_count(0)
    forgive(stranger, complaints, "404")


def test_runs_of_a_tree_are_compared_from_there(browse: Browse, alice: User, runs: list[Job]) -> None:
    page = browse(alice, f"/jobs/{runs[1].pk}")
    tree = page.get_by_role("region", name="Run 2 of flux-portraits")
    tree.get_by_role("checkbox", name="Choose run 1 to compare").check()
    tree.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Compare 2 jobs")).to_be_visible()


def test_what_still_runs_is_looked_at_again(browse: Browse, alice: User, runs: list[Job], tmp_path: Path) -> None:
    first, second = runs[:2]
    Job.objects.filter(pk=second.pk).update(status=JobStatus.RUNNING, completed_at=None, step=400)
    page = browse(alice, "/account")
    page.clock.install()
    page.goto(f"/jobs/compare?id={first.pk}&id={second.pk}")
    result = page.get_by_role("region", name="Result")
    expect(page.locator("#plots canvas").first).to_be_visible()
    expect(result).to_contain_text("Running")
    page.get_by_label("Logarithm").check()
    with (output_of(second, tmp_path).parent / "train.log").open("a") as log:
        log.write(BAR.format(step=401, minutes=14, seconds=0, rate=5e-5, loss=0.0123))
    picture = f"validation_images/{PICTURE.format(step=401)}"
    Image.new("RGB", (320, 320)).save(output_of(second, tmp_path) / picture)
    thumbnails.make_thumbnails(second, [picture], LARGE)
    Job.objects.filter(pk=second.pk).update(step=401)
    page.clock.fast_forward(21_000)
    expect(result).to_contain_text("0.0123")
    expect(result).to_contain_text("401")
    expect(page.get_by_role("region", name="Pictures")).to_contain_text("step 401")
    expect(page.locator("#plots [role=group]").first).to_have_attribute("aria-label", re.compile("to 0.0123"))
    expect(page.get_by_label("Logarithm")).to_be_checked()
    keys = page.locator(".run-key")
    assert len({key.evaluate("(one) => getComputedStyle(one).backgroundColor") for key in keys.all()}) == 2


def test_without_a_script_the_list_compares_too(
    browse: Browse, alice: User, runs: list[Job], complaints: list[str]
) -> None:
    page = browse(alice, java_script_enabled=False)
    choose(page, *runs[:2])
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Compare 2 jobs")).to_be_visible()
    choice = browse(alice, java_script_enabled=False)
    choose(choice, runs[0])
    choice.get_by_role("button", name="Compare", exact=True).click()
    expect(choice.get_by_text("Choose 2 to 5 jobs: one job is chosen.")).to_be_visible()
    forgive(choice, complaints, "400")


def test_a_tick_outlives_a_change_of_its_row(browse: Browse, alice: User, runs: list[Job]) -> None:
    page = is_live(browse(alice))
    choose(page, runs[0])
    Job.objects.filter(pk=runs[0].pk).update(hardware_profile="h100")
    with transaction.atomic():
        runs[0].record_note(SYSTEM, Source.COMMAND, "moved")
    expect(row(page, runs[0])).to_contain_text("h100")
    expect(row(page, runs[0]).get_by_role("checkbox")).to_be_checked()


def test_it_fits_on_a_phone(browse: Browse, alice: User, runs: list[Job]) -> None:
    address = "&".join(f"id={job.pk}" for job in runs)
    page = browse(alice, f"/jobs/compare?{address}", **PHONE)
    expect(page.locator("#plots canvas").first).to_be_visible()
    keep(page, "compare-phone")
    assert not is_wider_than_the_window(page)
    assert not violations(page)
