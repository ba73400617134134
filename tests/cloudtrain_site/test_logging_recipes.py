"""The recipes of docs/logging.md, run as they stand on a log of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.test import Client

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.structured_logging import LogContext, get_logger
from tests.cloudtrain_site.conftest import ROOT
from tests.servers import missing

RECIPES = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "logging.md").read_text(), re.DOTALL)
#: The document's own, with jq's -c in addition so that a line is a finding, and how many they find below.
DOCUMENTED = {
    """grep '"correlation_id": "abc123"' $LOG""": 2,
    """cat $LOG | jq -c 'select(.correlation_id == "abc123")'""": 2,
    """cat $LOG | \\\n  jq -c 'select(.extra.job_id == "xyz789")'""": 1,
    """cat $LOG | \\\n  jq -c 'select(.message | contains("polling")) | {timestamp, message}'""": 2,
    """cat $LOG | \\\n  jq -c 'select(.message | contains("expired"))'""": 1,
}


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


def run(recipe: str, log: Path) -> list[str]:
    """The lines that a recipe prints."""
    if shutil.which("jq") is None:
        missing("jq")
    command = recipe.replace("/var/log/simpletuner/cloud.log", "$LOG").replace("$LOG", str(log))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("recipe", RECIPES, ids=range(len(RECIPES)))
def test_a_recipe_of_ours_finds_what_it_is_for(sample: Path, recipe: str) -> None:
    assert run(recipe, sample)


@pytest.mark.parametrize(("recipe", "count"), DOCUMENTED.items(), ids=range(len(DOCUMENTED)))
def test_a_recipe_of_the_document_finds_exactly_its_lines(sample: Path, recipe: str, count: int) -> None:
    assert len(run(recipe, sample)) == count
