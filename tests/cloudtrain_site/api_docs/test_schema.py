"""What the schema says of every operation, and of the errors that it may answer with."""

from __future__ import annotations

from typing import Any, cast

import pytest
from drf_spectacular.generators import SchemaGenerator

LONGEST_SUMMARY = 60
OPEN = {"/api/cloud/health/live", "/api/cloud/health/ready"}
ERROR = {"$ref": "#/components/schemas/Error"}


@pytest.fixture(scope="module")
def paths() -> dict[str, dict[str, Any]]:
    return cast(dict[str, dict[str, Any]], schema()["paths"])


def schema() -> dict[str, Any]:
    generator = SchemaGenerator()
    return cast(dict[str, Any], generator.get_schema(request=None, public=True))


def operations(paths: dict[str, dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, ways in paths.items() for method, operation in ways.items()]


def those_that_answer(paths: dict[str, dict[str, Any]], status: str) -> set[tuple[str, str]]:
    return {(method, path) for path, method, operation in operations(paths) if status in operation["responses"]}


def test_every_operation_has_a_short_summary(paths: dict[str, dict[str, Any]]) -> None:
    summaries = [operation["summary"] for _, _, operation in operations(paths)]
    assert len(summaries) > 50
    assert all(0 < len(text) <= LONGEST_SUMMARY and text[0].isupper() and text[-1] != "." for text in summaries)


def test_every_error_has_the_one_shape(paths: dict[str, dict[str, Any]]) -> None:
    errors = [
        answer
        for path, _, operation in operations(paths)
        for status, answer in operation["responses"].items()
        if status >= "400" and not path.startswith("/api/cloud/health")
    ]
    assert all(answer["content"]["application/json"]["schema"] == ERROR and answer["description"] for answer in errors)


def test_only_the_probes_answer_everybody(paths: dict[str, dict[str, Any]]) -> None:
    closed = {path for _, path in those_that_answer(paths, "401")}
    assert set(paths) - closed == OPEN


def test_what_is_in_a_path_may_be_missing(paths: dict[str, dict[str, Any]]) -> None:
    about_one = {path for path in paths if "{" in path} | {"/api/cloud/jobs/compare"}
    assert {path for _, path in those_that_answer(paths, "404")} == about_one


def test_what_takes_a_body_refuses_a_bad_one(paths: dict[str, dict[str, Any]]) -> None:
    with_body = {(method, path) for path, method, operation in operations(paths) if "requestBody" in operation}
    assert with_body == those_that_answer(paths, "413") == those_that_answer(paths, "415")


def test_every_operation_refuses_an_unknown_parameter(paths: dict[str, dict[str, Any]]) -> None:
    assert those_that_answer(paths, "400") == {(method, path) for path, method, _ in operations(paths)}


def test_whatever_asks_the_database_may_find_it_away_or_full(paths: dict[str, dict[str, Any]]) -> None:
    all_of_them = {(method, path) for path, method, _ in operations(paths)}
    assert {path for _, path in all_of_them - those_that_answer(paths, "503")} == {"/api/cloud/health/live"}
    assert those_that_answer(paths, "507") == {(method, path) for method, path in all_of_them if method != "get"}


@pytest.mark.parametrize(
    ("status", "method", "path"),
    [
        ("409", "post", "/api/cloud/jobs/{job_id}/cancel"),
        ("409", "post", "/api/queue/{job_id}/cancel"),
        ("409", "post", "/api/cloud/jobs/submit"),
        ("409", "post", "/api/approvals/{request_id}/approve"),
        ("502", "post", "/api/cloud/jobs/sync"),
        ("503", "get", "/api/cloud/health"),
        ("403", "get", "/api/account/keys"),
    ],
)
def test_an_error_that_a_view_declares_is_documented(
    paths: dict[str, dict[str, Any]], status: str, method: str, path: str
) -> None:
    assert (method, path) in those_that_answer(paths, status)


def test_the_limits_for_one_person_are_documented(paths: dict[str, dict[str, Any]]) -> None:
    limited = {
        (method, path)
        for method, path in those_that_answer(paths, "429")
        if "A limit per person" in paths[path][method]["responses"]["429"]["description"]
    }
    assert limited == {
        ("post", "/api/cloud/jobs/submit"),
        ("post", "/api/queue/submit"),
        ("post", "/api/cloud/jobs/{job_id}/retry"),
        ("post", "/api/cloud/jobs/sync"),
        ("get", "/api/cloud/jobs/compare"),
        ("get", "/api/cloud/jobs/{job_id}/logs"),
        ("get", "/api/cloud/jobs/{job_id}/metrics"),
        ("get", "/api/cloud/jobs/{job_id}/metrics.csv"),
        ("post", "/api/cloud/uploads"),
        ("post", "/api/approvals/rules/preview"),
    }


def test_whatever_takes_a_key_may_refuse_one_of_too_many_wrong_ones(paths: dict[str, dict[str, Any]]) -> None:
    assert those_that_answer(paths, "429") == those_that_answer(paths, "401")
