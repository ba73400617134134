"""Numbers that are typed into the page of a new job: each stays as it is written, or the page says why it can't."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from jobs.models import Job, ProviderConfig
from tests.browser.conftest import Browse

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def prices(db: None) -> None:
    ProviderConfig.objects.update_or_create(
        name="local", defaults={"cost_per_second": {"cpu": 0.001}, "seconds_per_step": 1}
    )


#: As typed, and as the job has it.
KEPT = [
    ("12345678901234567890", "12345678901234567890"),
    ("1.0", "1.0"),
    ("0.1000000000000000055511151231257827", "0.1"),
    ("9007199254740993", "9007199254740993"),
    ("-9007199254740993", "-9007199254740993"),
    ("5e-324", "5e-324"),
    ("1.7976931348623157e308", "1.7976931348623157e+308"),
    ("0.0e-999", "0.0"),
    ("9" * 4000, "9" * 4000),
]


def test_each_stays_as_it_is_written(browse: Browse, alice: User) -> None:
    page = browse(alice, "/jobs/new")
    numbers = ", ".join(typed for typed, _ in KEPT)
    text = f'{{"max_train_steps": 10, "numbers": [{numbers}]}}'
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if "submit" in request.url else None)
    page.get_by_role("textbox", name="JSON").focus()
    page.keyboard.insert_text(text)
    expect(page.locator("#forecast-source")).to_have_text("by the operator's figure")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url(re.compile("/jobs/01"))
    assert text in sent[-1]
    assert json.dumps(Job.objects.get().config["numbers"]) == f"[{', '.join(kept for _, kept in KEPT)}]"


REFUSED = [
    ('{"max_train_steps": 1e400}', "Line 1, column 21:1e400 is too large: at most about 1.8e308."),
    ('{"a": [-1.5e999]}', "Line 1, column 8:-1.5e999 is too large: at most about 1.8e308."),
    ('{"rate": 1e-400}', "Line 1, column 10:1e-400 is so small that it would become 0."),
    ('{"a": NaN}', "Line 1, column 7:NaN is not a value. Put texts in double quotes."),
    ('\ufeff{"a": 1}', "Line 1, column 1:Expected a value, not an invisible character, U+FEFF: remove it."),
    ('{"a": 🚂}', "Line 1, column 7:Expected a value, not 🚂."),
    ('{"a": 1, "a": 2}', 'Line 1, column 10:"a" is already set above.'),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_can_not_be_kept_is_told(browse: Browse, alice: User, text: str, sentence: str) -> None:
    page = browse(alice, "/jobs/new")
    page.get_by_role("textbox", name="JSON").focus()
    page.keyboard.insert_text(text)
    expect(page.locator("#config-problem")).to_have_text(sentence)
    expect(page.get_by_text("Fix the config errors first.")).to_be_visible()
