"""The list of jobs as other pages lead to it."""

from __future__ import annotations

import re
from datetime import date

import pytest
from django.contrib.auth.models import User

from jobs.models import Organization
from tests.jobs.dashboard.test_list_views import get, shown_names
from tests.spending import spend

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def test_the_jobs_of_a_person_on_some_hardware_that_cost_something(
    acme: Organization, alice: User, charlie: User
) -> None:
    november = date(2025, 11, 12)
    for name, day, fields in (
        ("right", november, {"submitted_by": alice}),
        ("nobodys", november, {}),
        ("elsewhere", november, {"submitted_by": alice, "hardware_profile": "h100"}),
        ("earlier", date(2025, 10, 31), {"submitted_by": alice}),
    ):
        spend(day, "3", organization=acme, config_name=name, **fields)
    address = "/?person=alice&hardware=cpu&cost_from=2025-11-01&cost_to=2025-11-30"
    page = get(alice, address)
    assert shown_names(page) == ["right"]
    for label, value in (("Person", "alice"), ("Hardware", "CPU"), ("Cost", "from 2025-11-01 to 2025-11-30")):
        assert re.search(rf">{label}:</span> <bdi>{value}</bdi>", page)
    assert shown_names(get(alice, "/?cost_to=2025-10-31")) == ["earlier"]
    assert shown_names(get(alice, "/?person=nobody")) == shown_names(get(charlie, address)) == []
    assert "Unknown filter; showing all jobs." in get(alice, "/?cost_from=yesterday")
