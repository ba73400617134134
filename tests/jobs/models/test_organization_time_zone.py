"""The time zone of an organization."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from jobs.models import Organization


def test_an_organization_begins_in_utc(acme: Organization) -> None:
    assert acme.time_zone == "UTC"


def test_a_zone_that_does_not_exist_is_refused(acme: Organization) -> None:
    acme.time_zone = "Mars/Olympus"
    with pytest.raises(ValidationError, match=r"There is no time zone “Mars/Olympus”"):
        acme.full_clean()


def test_a_zone_that_exists_is_taken(acme: Organization) -> None:
    acme.time_zone = "Europe/Berlin"
    acme.full_clean()
