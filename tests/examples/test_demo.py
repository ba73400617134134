"""The demo's own password: it must never be what the demo fails by."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import get_password_validators, validate_password
from django.core.exceptions import ValidationError

from examples import demo

VALIDATORS = "django.contrib.auth.password_validation"
#: Django's own, stricter than any site that we know of.
STRICT: list[dict[str, Any]] = [
    {"NAME": f"{VALIDATORS}.UserAttributeSimilarityValidator", "OPTIONS": {"max_similarity": 0.4}},
    {"NAME": f"{VALIDATORS}.MinimumLengthValidator", "OPTIONS": {"min_length": 24}},
    {"NAME": f"{VALIDATORS}.CommonPasswordValidator"},
    {"NAME": f"{VALIDATORS}.NumericPasswordValidator"},
]


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("time", range(20))
def test_every_password_of_the_demo_passes(name: str, time: int) -> None:
    password = importlib.reload(demo).PASSWORD
    validate_password(password, User(username=name), get_password_validators(STRICT))
    kinds = (str.isupper, str.islower, str.isdigit, lambda character: not character.isalnum())
    assert all(any(map(is_kind, password)) for is_kind in kinds)
    assert not password.startswith("-"), "an option of the command line begins so"


def test_a_password_of_twelve_characters_would_not_pass() -> None:
    with pytest.raises(ValidationError):
        validate_password("Yd3_x-Qa91bc", User(username="alice"), get_password_validators(STRICT))
