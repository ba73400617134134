"""The page of a new job without a browser: who gets it, and what it offers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.configs.examples import EXAMPLES, Example
from jobs.configs.store import store_config
from jobs.models import Membership, Organization
from jobs.providers.inspection import findings_on, objections_to
from jobs.roles import Role
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def get(user: User, address: str = "/jobs/new") -> Any:
    client = Client()
    client.force_login(user)
    return client.get(address)


def test_nobody_is_sent_to_the_login(client: Client) -> None:
    assert client.get("/jobs/new")["Location"] == "/login?next=/jobs/new"


def test_who_may_submit_nowhere_is_refused_and_not_led_there(acme: Organization) -> None:
    for user in (factories.make_user("vera", acme, Role.VIEWER), factories.make_user("dora")):
        assert get(user).status_code == 403
        assert b"/jobs/new" not in get(user, "/").content


def test_offers_the_organizations_in_which_one_may_submit(alice: User, charlie: User) -> None:
    one = get(alice).content.decode()
    assert 'id="organization" name="organization" value="acme"' in " ".join(one.split())
    assert "other" not in one
    viewed, second = (Organization.objects.create(name=name) for name in ("viewed", "second"))
    Membership.objects.create(user=alice, organization=viewed, role=Role.VIEWER)
    Membership.objects.create(user=alice, organization=second, role=Role.RESEARCHER)
    several = get(alice).content.decode()
    assert "<option>acme</option><option>second</option>" in several
    assert "viewed" not in several


def test_the_list_leads_there(alice: User) -> None:
    assert b'href="/jobs/new"' in get(alice, "/").content


def test_a_stored_config_comes_as_text_with_its_numbers_and_without_its_secrets(
    alice: User, charlie: User, acme: Organization
) -> None:
    store_config(
        alice, acme, "night run", {"seed": 12345678901234567890, "lr": 1.0, "hub_token": "hush"}, [{"id": "a"}]
    )
    page = get(alice).content.decode()
    assert '{"acme": ["night run"]}' in page
    assert "hush" not in page
    answer = get(alice, "/jobs/new/stored?organization=acme&name=night+run").json()
    # PostgreSQL has an order of its own for the keys of an object.
    lines = {line.strip(" ,") for line in answer["config"].splitlines()}
    assert lines == {"{", '"seed": 12345678901234567890', '"lr": 1.0', '"hub_token": "***"', "}"}
    assert json.loads(answer["dataloader_config"]) == [{"id": "a"}]


def test_a_stored_config_that_is_none_of_ones_own_is_not_there(alice: User, charlie: User, acme: Organization) -> None:
    store_config(alice, acme, "night run", {"lr": 1.0}, [])
    own = "/jobs/new/stored?organization=acme&name=night+run"
    assert get(charlie, own).status_code == 404
    assert get(alice, own.replace("acme", "other")).status_code == 404
    assert get(alice, own.replace("night", "day")).status_code == 404
    assert get(alice, own + "%00").status_code == 404
    assert Client().get(own).status_code == 401


def test_only_pages_with_an_editor_let_its_styles_in(alice: User) -> None:
    nonce = re.search(r'nonce="([^"]+)"', get(alice).content.decode())
    assert nonce
    policy = get(alice)["Content-Security-Policy"]
    assert "style-src 'self' 'nonce-" in policy
    assert nonce[1] not in policy  # each answer has its own
    assert "nonce" not in get(alice, "/")["Content-Security-Policy"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.key)
def test_an_example_can_be_submitted_and_looks_like_no_mistake(example: Example) -> None:
    config = json.loads(example.text)
    assert objections_to("local", config, []) == []
    assert findings_on("local", config, []) == []


@pytest.mark.parametrize(
    ("place", "lost"),
    [
        ({"provider": "local", "hardware_profile": "cpu"}, ""),
        ({"provider": "local", "hardware_profile": "a100"}, "a100 isn’t offered now."),
        ({"provider": "moon", "hardware_profile": "cpu"}, "moon isn’t offered now."),
    ],
)
def test_a_run_again_says_from_the_start_what_is_not_offered_now(
    alice: User, acme: Organization, place: dict[str, str], lost: str
) -> None:
    job = factories.make_job(organization=acme, submitted_by=alice, **place)
    page = get(alice, f"/jobs/new?parent={job.pk}").content.decode()
    assert ("isn’t offered now." in page) == bool(lost)
    assert lost in " ".join(page.split())
