"""A run with changes, as people make one: two of a team, and a stranger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from jobs.configs.secrets import sealed_columns, unsealed_columns
from jobs.models import Job, ProviderConfig
from jobs.statuses import JobStatus
from tests.browser.conftest import (
    Browse,
    forgive,
    is_wider_than_the_window,
    keep,
    sticking_out,
    violations,
)
from tests.browser.editors import text_of
from tests.jobs.pictures import output_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

TOKEN = "hf_notarealtoken1"
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}


@pytest.fixture
def parent(make_job: Callable[..., Job]) -> Job:
    """A run of alice's that has ended, with a secret, and numbers that a browser would change."""
    ProviderConfig.objects.update_or_create(
        name="local", defaults={"cost_per_second": {"cpu": 0.001}, "seconds_per_step": 1}
    )
    config = {
        "model_family": "flux",
        "max_train_steps": 1000,
        "learning_rate": 1e-4,
        "guidance": 1.0,
        "seed": 12345678901234567890,
        "hub_token": TOKEN,
    }
    columns = sealed_columns(config=config, dataloader_config=[{"id": "cats", "resolution": 1.0}], webhook_url="")
    return make_job(status=JobStatus.COMPLETED, config_name="flux-portraits", tracker_run_name="portraits", **columns)


def change(page: Page, before: str, after: str) -> None:
    text = text_of(page).input_value()
    page.get_by_role("textbox", name="JSON", exact=True).fill(text.replace(before, after))


def test_one_changes_a_number_and_the_other_sees_it(
    browse: Browse, alice: User, bob: User, charlie: User, parent: Job, complaints: list[str]
) -> None:
    page = browse(alice, f"/jobs/{parent.pk}")
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_role("heading", name="Run again with changes")).to_be_visible()
    expect(text_of(page)).to_have_value(
        '{\n  "model_family": "flux",\n  "max_train_steps": 1000,\n  "learning_rate": 0.0001,\n  "guidance": 1.0,\n'
        '  "seed": 12345678901234567890,\n  "hub_token": "***"\n}'
    )
    expect(page.get_by_label("Name of the job")).to_have_value("flux-portraits-2")
    expect(page.get_by_label("Name of the run at the tracker")).to_have_value("portraits")
    expect(page.get_by_text("No changes yet.")).to_be_visible()
    # The editor takes the place of the field when its scripts are there.
    expect(text_of(page)).to_be_hidden()
    change(page, "0.0001", "5e-5")
    changes = page.locator("#run-changes li")
    expect(changes).to_have_text(["learning_rate 1e-4 → 5e-5"])
    expect(page.locator("#config .is-changed")).to_have_text(['  "learning_rate": 5e-5,'])
    expect(page.get_by_text("which is used again")).to_be_visible()
    keep(page, "run-again")
    assert not violations(page)
    assert not sticking_out(page)
    page.get_by_role("button", name="Submit the job").click()
    expect(page.get_by_role("heading", name="Run 2 of flux-portraits")).to_be_visible()
    job = Job.objects.get(parent=parent)
    assert job.config["seed"] == 12345678901234567890
    assert unsealed_columns(job)["config"]["hub_token"] == TOKEN

    theirs = browse(bob, f"/jobs/{job.pk}")
    side = theirs.get_by_role("region", name="Run 2 of flux-portraits")
    expect(side.get_by_text("learning_rate 1e-4 → 5e-5").first).to_be_visible()
    keep(theirs, "run-again-job")
    assert not violations(theirs)
    side.get_by_role("link", name="flux-portraits", exact=True).first.click()
    expect(theirs.get_by_role("heading", name="Run 1 of flux-portraits")).to_be_visible()

    stranger = browse(charlie, f"/jobs/new?parent={parent.pk}")
    expect(stranger.get_by_role("heading", name="Page not found")).to_be_visible()
    expect(stranger.get_by_text("flux-portraits")).to_have_count(0)
    forgive(stranger, complaints, "404")


def test_it_fits_on_a_phone_and_keeps_what_was_typed_before_its_scripts_came_and_names_what_is_not_offered(
    browse: Browse, alice: User, parent: Job
) -> None:
    Job.objects.filter(pk=parent.pk).update(hardware_profile="a100")
    page = browse(alice, **PHONE)
    page.route("**/new_job/new_job.*js", lambda route: None)
    page.goto(f"/jobs/new?parent={parent.pk}", wait_until="commit")
    text_of(page).fill(text_of(page).input_value().replace("0.0001", "5e-5"))
    page.unroute("**/new_job/new_job.*js")  # what it held goes on
    expect(page.locator("#run-changes li")).to_have_count(2)
    expect(page.get_by_text("a100 isn’t offered now.")).to_be_visible()
    keep(page, "run-again-phone")
    assert not is_wider_than_the_window(page)
    assert not sticking_out(page)
    assert not violations(page)


def test_it_goes_on_from_a_checkpoint(browse: Browse, alice: User, parent: Job, settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    Job.objects.filter(pk=parent.pk).update(external_id=parent.pk)
    folder = output_of(parent, tmp_path) / "checkpoint-500"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"x" * 1_000)
    page = browse(alice, f"/jobs/new?parent={parent.pk}")
    page.get_by_label("Resume from").select_option(label="checkpoint-500 (step 500, 1000 bytes)")
    expect(page.locator("#run-changes")).to_contain_text("resume_from_checkpoint nothing → checkpoint-500")
    keep(page, "run-again-checkpoint")
    assert not violations(page)
    page.get_by_role("button", name="Submit the job").click()
    side = page.get_by_role("region", name="Run 2 of flux-portraits")
    expect(side.get_by_text("continues from its checkpoint-500")).to_be_visible()
