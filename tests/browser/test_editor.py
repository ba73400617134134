"""The editor of configs: completion, corrections at the place, other notations, storing, and forms without scripts."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from jobs.models import Job, Organization, TrainingConfig
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, sticking_out, violations
from tests.browser.editors import text_of

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

TOML = "# a LoRA\nmodel_family = 'flux'\nlearning_rte = 1e-4\nmax_train_steps = 60\nvalidation_guidance = 1.0\n"
PASTE = """text => {
  const data = new DataTransfer();
  data.setData("text/plain", text);
  const options = {clipboardData: data, bubbles: true, cancelable: true};
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", options));
}"""


def test_a_config_is_completed_pasted_corrected_stored_and_submitted(
    browse: Browse, alice: User, acme: Organization
) -> None:
    page = is_live(browse(alice, "/jobs/new", reduced_motion="reduce"))
    editor = page.get_by_role("textbox", name="JSON", exact=True)
    submit = page.get_by_role("button", name="Submit the job")
    expect(submit).to_be_disabled()
    editor.click()
    page.keyboard.type('{\n"--model_ty')
    offered = page.locator(".cm-tooltip-autocomplete li")
    expect(offered.first).to_contain_text("--model_type")
    keep(page, "editor-completion")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+Space")
    expect(offered).to_have_text(['"full"', '"lora"'])
    offered.last.click()
    expect(text_of(page)).to_have_value('{\n  "--model_type": "lora"\n}')

    page.keyboard.press("Control+A")
    page.evaluate(PASTE, TOML)
    expect(text_of(page)).to_have_value(
        '{\n  "model_family": "flux",\n  "learning_rte": 1e-4,\n  "max_train_steps": 60,\n'
        '  "validation_guidance": 1.0\n}'
    )
    marked = page.locator("#config .cm-lintRange-warning")
    expect(marked).to_have_text('"learning_rte"')
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"editor-{scheme}")
    page.get_by_role("button", name="Use learning_rate").click()
    expect(marked).to_have_count(0)
    assert '"learning_rate": 1e-4' in text_of(page).input_value()
    page.keyboard.press("Control+Z")
    expect(marked).to_have_count(1)
    page.keyboard.press("Control+Y")

    page.get_by_role("button", name="Save as").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Enter a name.")).to_be_visible()
    assert violations(page) == [], "the question for a name"
    page.get_by_label("Name", exact=True).fill("mine")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Config mine saved for acme.")).to_be_visible()
    assert TrainingConfig.objects.get().config["learning_rate"] == 0.0001
    page.get_by_label("Start from").select_option("stored:mine")
    expect(editor).not_to_be_editable()
    expect(submit).to_be_enabled()
    submit.click()
    page.wait_for_url(re.compile("/jobs/[0-9a-z]{26}"))
    assert Job.objects.get().config_name == "mine"


def test_what_can_not_be_read_changes_nothing_and_the_page_fits_a_phone(
    browse: Browse, alice: User, complaints: list[str]
) -> None:
    page = is_live(browse(alice, "/jobs/new", viewport={"width": 390, "height": 844}))
    page.locator("#config-file").set_input_files(
        {"name": "bad.yaml", "mimeType": "text/plain", "buffer": b"a: 1\nb: yes"}
    )
    expect(page.locator("#config-problem")).to_have_text(
        "bad.yaml can’t be read. Line 2: yes means different values to different readers: put it in quotes."
    )
    expect(text_of(page)).to_have_value("")
    page.get_by_label("Start from").select_option("example:first-job")
    expect(page.get_by_label("Name of the job")).to_have_value("first-job")
    expect(page.get_by_role("button", name="Submit the job")).to_be_enabled()
    assert json.loads(text_of(page).input_value())["max_train_steps"] == 40
    keep(page, "editor-phone")
    assert violations(page) == []
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []
    forgive(page, complaints, "400")


def test_without_scripts_the_form_submits_too(browse: Browse, alice: User) -> None:
    page = browse(alice)
    cookies = page.context.cookies()
    browser = page.context.browser
    assert browser
    context = browser.new_context(java_script_enabled=False, base_url=page.url)
    context.add_cookies([{"name": c["name"], "value": c["value"], "url": page.url} for c in cookies])
    plain = context.new_page()
    plain.goto("/jobs/new")
    plain.get_by_label("JSON", exact=True).fill("max_train_steps = 5")
    plain.get_by_label("Provider and hardware").select_option("local cpu")
    keep(plain, "editor-without-scripts")
    plain.get_by_role("button", name="Submit the job").click()
    plain.wait_for_url(re.compile("/jobs/[0-9a-z]{26}"))
    assert Job.objects.get().config == {"max_train_steps": 5}
    context.close()
