"""What looks like a mistake in a config, beside the editor in which it is written."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.browser.conftest import Browse, is_wider_than_the_window, keep, sticking_out, violations
from tests.browser.editors import selected

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

CONFIG = """{
  "model_family": "flux",
  "model_type": "lorra",
  "max_train_steps": 1000,
  "learning_rte": 0.0001
}"""


def test_a_mistake_is_listed_and_a_click_goes_to_its_line(browse: Browse, alice: User) -> None:
    page = browse(alice, "/jobs/new", viewport={"width": 1280, "height": 900})
    page.get_by_role("textbox", name="JSON", exact=True).fill(CONFIG)
    listed = page.locator("#config .editor-findings")
    expect(listed).to_contain_text(
        "Line 5: learning_rte: SimpleTuner doesn't have this option. Did you mean learning_rate?"
    )
    expect(listed).to_contain_text('Line 3: model_type: "lorra" is not one of its choices: full, lora.')
    expect(page.locator("#forecast-warnings")).not_to_contain_text("learning_rte")
    page.get_by_role("button", name="Line 5").click()
    assert selected(page) == '"learning_rte"'
    page.get_by_text("Dataloader config").click()
    page.get_by_role("textbox", name="JSON, a list of datasets").fill('[\n  {"id": "a", "type": "aws"}\n]')
    expect(page.locator("#dataloader .editor-findings")).to_contain_text(
        "Line 2: Dataset 1: aws_bucket_name is missing"
    )
    keep(page, "known-keys-light")
    assert violations(page) == []
    page.get_by_role("textbox", name="JSON", exact=True).fill(CONFIG.replace("rte", "rate").replace("lorra", "lora"))
    expect(listed).to_be_hidden()
    expect(page.get_by_role("button", name="Submit the job")).to_be_enabled()


def test_it_fits_a_phone(browse: Browse, alice: User) -> None:
    page = browse(alice, "/jobs/new", viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.get_by_role("textbox", name="JSON", exact=True).fill(CONFIG)
    expect(page.locator("#config .editor-findings")).to_contain_text("learning_rte")
    keep(page, "known-keys-phone-dark")
    assert violations(page) == []
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []
