"""The stored configs in an organization's settings."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User

from cloudtrain_site.audit.recording import record
from cloudtrain_site.states import Actor
from jobs.configs.secrets import unsealed_columns
from jobs.configs.store import store_config
from jobs.models import Organization, TrainingConfig
from jobs.roles import Role
from tests.factories import make_user
from tests.settings_pages import ACME, browser_of, send, stamp_in, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
CONFIGS = f"{ACME}/configs"
JSON = '{"max_train_steps": 7}'


@pytest.fixture
def stored(alice: User, acme: Organization) -> TrainingConfig:
    return store_config(alice, acme, "flux", {"max_train_steps": 1}, [])[0]


def address_of(config: TrainingConfig) -> str:
    return f"{CONFIGS}/{config.pk}"


def test_a_researcher_stores_changes_and_deletes_one(alice: User, acme: Organization) -> None:
    browser = browser_of(alice)
    assert "No stored configs yet." in text_of(browser.get(CONFIGS))
    by_operator = TrainingConfig.objects.create(organization=acme, name="by-hand")
    assert "by-hand" in text_of(browser.get(CONFIGS)) and "operator" not in text_of(browser.get(CONFIGS))
    record("config_made", by_operator, by=Actor("operator"), organization=acme)
    assert "operator" in text_of(browser.get(CONFIGS))
    by_operator.delete()
    page = send(browser, f"{CONFIGS}/new", name="flux", config=JSON, dataloader_config='[{"id": "a"}]')
    assert "The config flux is stored." in text_of(page)
    stored = TrainingConfig.objects.get()
    assert (stored.config, stored.dataloader_config) == ({"max_train_steps": 7}, [{"id": "a"}])
    assert stored.updated_by == alice
    page = send(browser, address_of(stored), config='{"max_train_steps": 8}')
    assert "The config flux is changed." in text_of(page)
    stored.refresh_from_db()
    assert (stored.config, stored.dataloader_config) == ({"max_train_steps": 8}, [])
    page = browser.post(f"{address_of(stored)}/delete", follow=True)
    assert "The config flux was deleted." in text_of(page)
    assert browser.post(f"{address_of(stored)}/delete").status_code == 404


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "This is not valid JSON: line 1"),
        ("[]", "A config is a JSON object."),
        ('{"a": NaN}', "NaN is not a number"),
        ("[" * 5000, "nested too deeply"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested too deeply"),
        ("", "This field is required."),
    ],
)
def test_what_is_no_config_is_refused_with_the_reason(alice: User, text: str, sentence: str) -> None:
    page = send(browser_of(alice), f"{CONFIGS}/new", name="flux", config=text)
    assert page.status_code == 400
    assert sentence in text_of(page)
    assert not TrainingConfig.objects.exists()


@pytest.mark.parametrize("name", ["", "a/b\x00", "two\nlines", "x" * 201])
def test_a_bad_name_is_refused(alice: User, name: str) -> None:
    assert send(browser_of(alice), f"{CONFIGS}/new", name=name, config=JSON).status_code == 400
    assert not TrainingConfig.objects.exists()


def test_secrets_are_shown_masked_and_kept(alice: User, acme: Organization) -> None:
    stored, _ = store_config(alice, acme, "flux", {"hub_token": "not-a-real-one", "steps": 1}, [])
    browser = browser_of(alice)
    page = browser.get(address_of(stored))
    assert "not-a-real-one" not in page.content.decode()
    masked = json.dumps({"hub_token": "***", "steps": 2})
    assert "is changed" in text_of(send(browser, address_of(stored), config=masked))
    stored.refresh_from_db()
    assert unsealed_columns(stored)["config"] == {"hub_token": "not-a-real-one", "steps": 2}
    page = send(browser, f"{CONFIGS}/new", name="other", config=masked)
    assert page.status_code == 400


def test_a_page_that_is_out_of_date_overwrites_nothing(
    alice: User, bob: User, acme: Organization, stored: TrainingConfig
) -> None:
    browser = browser_of(alice)
    stamp = stamp_in(browser, address_of(stored))
    store_config(bob, acme, "flux", {"max_train_steps": 2}, [])
    page = browser.post(address_of(stored), {"stamp": stamp, "config": JSON})
    assert page.status_code == 409
    assert "bob saved a config with this name after you opened this page." in text_of(page)
    stored.refresh_from_db()
    assert stored.config == {"max_train_steps": 2}
    assert "is changed" in text_of(send(browser, address_of(stored), config=JSON))


def test_a_new_one_does_not_replace_one_of_the_same_name_unasked(alice: User, stored: TrainingConfig) -> None:
    page = send(browser_of(alice), f"{CONFIGS}/new", name="flux", config=JSON)
    assert page.status_code == 409
    stored.refresh_from_db()
    assert stored.config == {"max_train_steps": 1}


def test_a_viewer_looks_and_changes_nothing(acme: Organization, stored: TrainingConfig) -> None:
    browser = browser_of(make_user("vera", acme, Role.VIEWER))
    page = browser.get(address_of(stored))
    assert "max_train_steps" in text_of(page)
    assert "Save config" not in text_of(page)
    assert browser.get(f"{CONFIGS}/new").status_code == 403
    for address in (address_of(stored), f"{address_of(stored)}/delete", f"{CONFIGS}/new"):
        page = browser.post(address, {"name": "x", "config": JSON})
        assert page.status_code == 403
        assert "t change its configs" in text_of(page)
    assert TrainingConfig.objects.get().config == {"max_train_steps": 1}


def test_configs_of_others_are_not_found_here(alice: User, charlie: User) -> None:
    other = Organization.objects.get(name="other")
    foreign, _ = store_config(charlie, other, "flux", {}, [])
    browser = browser_of(alice)
    assert browser.get(address_of(foreign)).status_code == 404
    assert browser.post(f"{address_of(foreign)}/delete").status_code == 404
