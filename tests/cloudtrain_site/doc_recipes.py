"""The recipes of the logging document and of docs/logging.md, run as they stand with the real jq and grep."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cloudtrain_site.conftest import ROOT
from tests.servers import missing

LOG = "/var/log/simpletuner/cloud.log"
Line = dict[str, Any]

#: Of docs/logging.md.
OURS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "logging.md").read_text(), re.DOTALL)
#: The document's own, and which lines each is to find.
DOCUMENTED: dict[str, Callable[[Line], bool]] = {
    f"""grep '"correlation_id": "abc123"' {LOG}""": lambda line: line["correlation_id"] == "abc123",
    f"""cat {LOG} | jq 'select(.correlation_id == "abc123")'""": lambda line: line["correlation_id"] == "abc123",
    f"""cat {LOG} | \\\n  jq 'select(.extra.job_id == "xyz789")'""": (
        lambda line: line.get("extra", {}).get("job_id") == "xyz789"
    ),
    f"""cat {LOG} | \\\n  jq 'select(.message | contains("polling")) | {{timestamp, message}}'""": (
        lambda line: "polling" in line["message"]
    ),
    f"""cat {LOG} | \\\n  jq 'select(.message | contains("expired"))'""": lambda line: "expired" in line["message"],
}


def run(recipe: str, log: Path) -> str:
    """What a recipe prints for this log."""
    if shutil.which("jq") is None:
        missing("jq")
    command = ["bash", "-o", "pipefail", "-c", recipe.replace(LOG, str(log))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def found(recipe: str, log: Path) -> list[Line]:
    """The objects that a recipe prints."""
    decoder, printed, objects = json.JSONDecoder(), run(recipe, log).strip(), []
    while printed:
        line, end = decoder.raw_decode(printed)
        objects.append(line)
        printed = printed[end:].strip()
    return objects


def shown_by(recipe: str, line: Line) -> Line:
    """As much of a line as the recipe prints."""
    return {key: line[key] for key in ("timestamp", "message")} if "{timestamp, message}" in recipe else line
