"""The page of results in a browser: its pictures and files, by keyboard and touch, beside another run; a stranger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from playwright.sync_api import Page, expect

from jobs.models import Job
from jobs.outputs import thumbnails
from jobs.outputs.thumbnails import LARGE, SMALL
from jobs.statuses import JobStatus
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, violations
from tests.jobs.pictures import output_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
STEPS = (100, 200, 300)
SWIPE = """(move) => {
  const full = document.getElementById("full");
  for (const [name, x] of [["touchstart", 200], ["touchend", 200 + move]]) {
    const touch = new Touch({ identifier: 1, target: full, clientX: x, clientY: 300 });
    full.dispatchEvent(new TouchEvent(name, { changedTouches: [touch], bubbles: true }));
  }
}"""


@pytest.fixture
def runs(make_job: Callable[..., Job], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """A run with pictures, a checkpoint and strange names, and the run that was made from it with a change."""
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(thumbnails, "async_task", lambda *arguments: None)
    first = make_job(config_name="flux-portraits", status=JobStatus.COMPLETED)
    second = make_job(config_name="flux-portraits-2", status=JobStatus.COMPLETED, parent=first, root=first)
    for number, job in enumerate((first, second)):
        Job.objects.filter(pk=job.pk).update(external_id=job.pk)
        job.refresh_from_db()
        write_results(output_of(job, tmp_path), 90 * number)
        paths = [f"validation_images/step_{step}_{name}_64x64.png" for step in STEPS for name in ("cat", "lighthouse")]
        for width in (SMALL, LARGE):
            thumbnails.make_thumbnails(job, paths, width)
    return [first, second]


def write_results(output: Path, blue: int) -> None:
    (output / "validation_images").mkdir(parents=True)
    for step in STEPS:
        for red, name in ((200, "cat"), (60, "lighthouse")):
            picture = Image.new("RGB", (64, 64), (red, step // 2, blue))
            picture.save(output / "validation_images" / f"step_{step}_{name}_64x64.png")
    (output / "checkpoint-300").mkdir()
    (output / "checkpoint-300" / "model.safetensors").write_bytes(b"x" * 3_000)
    (output / "<b>bold\n\u202egpj.exe").write_text("strange")
    (output / "evil.html").write_text("<script>alert(1)</script>")


def full(page: Page) -> Any:
    return page.get_by_role("dialog", name="A picture in full size")


def test_pictures_and_files_by_mouse_and_keyboard(browse: Browse, alice: User, runs: list[Job]) -> None:
    page = is_live(browse(alice, f"/jobs/{runs[0].pk}/results"))
    expect(page.locator(".step-group")).to_have_count(3)
    expect(page.locator(".step-group h3").first).to_have_text("Step 300")
    expect(page.locator("#slider-text")).to_have_text("step 300")
    keep(page, "results")
    assert not violations(page)

    page.get_by_label("Step", exact=True).focus()
    page.keyboard.press("Home")
    expect(page.locator("#slider-text")).to_have_text("step 100")
    page.get_by_label("Prompt").select_option(label="lighthouse")
    expect(page.locator("#slider-image")).to_have_attribute("alt", "Step 100: lighthouse")

    page.locator(".step-group").nth(1).get_by_role("link").first.focus()
    page.keyboard.press("Enter")
    expect(full(page)).to_contain_text("Step 200: cat")
    for key, text in (("ArrowRight", "Step 300: cat"), ("ArrowLeft", "Step 200: cat"), ("ArrowLeft", "Step 100: cat")):
        page.keyboard.press(key)
        expect(full(page)).to_contain_text(text)
    expect(full(page).get_by_role("button", name="Earlier step")).to_be_disabled()
    expect(page.locator("#full-image")).to_have_js_property("naturalWidth", 64)
    keep(page, "results-full")
    assert not violations(page)
    page.keyboard.press("Escape")
    expect(full(page)).to_be_hidden()

    files = page.get_by_role("region", name="Files")
    expect(files.get_by_text("9 files", exact=False)).to_be_visible()
    with page.expect_download() as download:
        files.get_by_role("link", name="evil.html").click()
    assert download.value.suggested_filename == "evil.html"
    files.get_by_text("checkpoint-300").click()
    with page.expect_download() as download:
        files.locator("#folder-checkpoint-300").get_by_role("link", name="Download this folder as a zip").click()
    assert download.value.suggested_filename.endswith("-checkpoint-300.zip")


def test_a_run_of_the_tree_stands_beside_and_a_stranger_sees_neither(
    browse: Browse, bob: User, charlie: User, runs: list[Job], complaints: list[str]
) -> None:
    first, second = runs
    page = browse(bob, f"/jobs/{second.pk}/results")
    page.get_by_label("Beside").select_option(value=first.pk)
    expect(page.locator("#beside-text")).to_have_text("The other run, step 300")
    page.get_by_label("Step", exact=True).press("Home")
    expect(page.locator("#beside-text")).to_have_text("The other run, step 100")
    expect(page.locator("#beside-image")).to_have_js_property("naturalWidth", 64)
    keep(page, "results-beside")
    assert not violations(page)
    stranger = browse(charlie, page.url)
    expect(stranger.get_by_text("flux-portraits")).to_have_count(0)
    path = f"/api/cloud/jobs/{first.pk}/outputs/validation_images/step_100_cat_64x64.png"
    assert stranger.request.get(path).status == 404
    forgive(stranger, complaints, "404")


def test_it_fits_on_a_phone_and_a_finger_leads_through_the_steps(browse: Browse, alice: User, runs: list[Job]) -> None:
    page = browse(alice, f"/jobs/{runs[1].pk}/results?beside={runs[0].pk}", **PHONE)
    expect(page.locator("#slider-text")).to_contain_text("step 300")
    keep(page, "results-phone")
    assert not is_wider_than_the_window(page)
    assert not violations(page)
    page.locator(".step-group").first.get_by_role("link").first.tap()
    expect(full(page)).to_contain_text("Step 300: cat")
    page.evaluate(SWIPE, 100)
    expect(full(page)).to_contain_text("Step 200: cat")
    page.evaluate(SWIPE, -100)
    expect(full(page)).to_contain_text("Step 300: cat")
    keep(page, "results-phone-full")
    full(page).get_by_role("button", name="Close").tap()
    expect(full(page)).to_be_hidden()
