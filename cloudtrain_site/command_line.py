"""The command line of a checkout (`manage.py`) and of an installation (`cloudtrain`)."""

from __future__ import annotations

from cloudtrain_site.serving.inspection import forbid_inspection
from cloudtrain_site.serving.lean_imports import load_lean_logging


def main() -> None:
    """Run the command. No trainer looks into it from its start on, though our libraries take half a second to load."""
    forbid_inspection()
    load_lean_logging()
    from cloudtrain_site.__main__ import main as run

    run()
