"""The recipes of docs/logging.md, run as they stand on a log of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.test import Client

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.structured_logging import LogContext, get_logger
from tests.cloudtrain_site.doc_recipes import DOCUMENTED, OURS, found, run, shown_by


@pytest.fixture
def sample(log_file: Path, client: Client) -> Path:
    """A log with a line for every recipe."""
    background = get_logger("simpletuner.cloud.background")
    with correlation("abc123"), LogContext(job_id="xyz789", provider="replicate"):
        get_logger("simpletuner.cloud.jobs").info("Job submitted successfully", cost_estimate=2.5)
    with correlation("abc123"):
        get_logger("simpletuner.cloud.providers").info("Submitting to provider", note='"correlation_id": "abc124"')
    background.info("Starting job status polling", interval=30)
    get_logger("simpletuner.cloud.approvals").info("Approval request expired", approval_id=7)
    try:
        raise ConnectionError("refused")
    except ConnectionError:
        background.exception("Error in job polling")
    client.get("/api/nowhere")
    return log_file


@pytest.mark.parametrize("recipe", OURS, ids=range(len(OURS)))
def test_a_recipe_of_ours_finds_what_it_is_for(sample: Path, recipe: str) -> None:
    assert run(recipe, sample)


@pytest.mark.parametrize("recipe", DOCUMENTED, ids=range(len(DOCUMENTED)))
def test_a_recipe_of_the_document_finds_exactly_its_lines(sample: Path, recipe: str) -> None:
    lines = [json.loads(line) for line in sample.read_text().splitlines()]
    expected = [shown_by(recipe, line) for line in lines if DOCUMENTED[recipe](line)]
    assert expected
    assert found(recipe, sample) == expected
