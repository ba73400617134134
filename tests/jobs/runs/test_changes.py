"""What differs between two submissions."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.models import Job
from jobs.runs.changes import LABELS, MAX_CHANGES, change_text, changes_between, settings_of, value_text


def between(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    changes = changes_between({"config": before}, {"config": after})
    assert changes["total"] == len(changes["items"])
    return [(item["path"], item["before"], item["after"]) for item in changes["items"]]


def test_equal_settings_have_none() -> None:
    assert between({"a": 1, "b": [{"c": "d"}]}, {"b": [{"c": "d"}], "a": 1}) == []


def test_each_is_named_by_its_path() -> None:
    before = {"learning_rate": 1e-4, "old": True, "nested": {"list": [1, 2]}}
    after = {"learning_rate": 5e-5, "new": "x", "nested": {"list": [1, 3]}}
    assert between(before, after) == [
        ("learning_rate", 1e-4, 5e-5),
        ("old", True, None),
        ("nested.list[1]", 2, 3),
        ("new", None, "x"),
    ]


def test_null_is_taken_for_what_is_not_there() -> None:
    assert between({"a": None}, {"b": None}) == []


def test_numbers_of_another_kind_differ() -> None:
    assert between({"a": 1, "b": 1}, {"a": 1.0, "b": True}) == [("a", 1, 1.0), ("b", 1, True)]


def test_what_became_empty_differs() -> None:
    assert between({"a": [1], "b": {}}, {"a": [], "b": {}}) == [("a[0]", 1, None), ("a", None, [])]


def test_a_secret_is_compared_and_not_shown() -> None:
    before, after = {"hf_token": "hf_one1234567890"}, {"hf_token": "hf_two1234567890"}
    assert between(before, after) == [("hf_token", "***", "***")]
    assert between(before, dict(before)) == []


def test_settings_beside_the_config_have_their_names() -> None:
    changes = changes_between({"config": {}, "provider": "local"}, {"config": {}, "provider": "lab"})
    assert changes["items"] == [{"path": "provider", "before": "local", "after": "lab"}]


def test_of_very_many_the_first_are_kept_and_all_are_counted() -> None:
    changes = changes_between({"config": {}}, {"config": {f"option_{number}": number for number in range(500)}})
    assert (changes["total"], len(changes["items"])) == (500, MAX_CHANGES)


def test_a_long_text_is_cut() -> None:
    [(_, before, after)] = between({"prompt": "x" * 1000}, {"prompt": "y"})
    assert (len(before), after) == (201, "y")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1e-4, "1e-4"), (5e-05, "5e-5"), (0.00125, "0.00125"), (2.5e-7, "2.5e-7"), (0.0, "0.0"), (1, "1")),
        *((True, "true"), (None, "nothing"), ("", '""'), ("flux", "flux"), ([], "[]"), (12345678901234567890, None)),
    ],
)
def test_values_are_written_as_people_write_them(value: Any, text: str | None) -> None:
    assert value_text(value) == (text or str(value))


def test_a_change_is_one_line() -> None:
    assert change_text({"path": "learning_rate", "before": 1e-4, "after": 5e-5}) == "learning_rate 1e-4 → 5e-5"
    assert change_text({"path": "hf_token", "before": "***", "after": "***"}) == "hf_token changed"


@pytest.mark.parametrize(
    ("path", "before", "after", "text"),
    [
        ("hardware_profile", "cpu", "gpu-t4", "Hardware: CPU → gpu-t4"),
        ("hardware_profile", "", "cpu", "Hardware: nothing → CPU"),
        ("provider", "local", "gone", "Provider: This machine → gone"),
        ("max_cost_usd", None, 1200.5, "Limit: nothing → $1,200.50"),
        ("fuse_action", None, "cancel", "When the limit is reached: nothing → Cancel the job"),
        ("webhook_url", "***", "***", "Address to call when it ends changed"),
    ],
)
def test_a_change_beside_the_config_has_a_plain_label(path: str, before: Any, after: Any, text: str) -> None:
    assert change_text({"path": path, "before": before, "after": after}) == text


def test_every_setting_beside_the_config_has_a_label() -> None:
    assert set(settings_of(Job())) - {"config", "dataloader_config"} == set(LABELS)
