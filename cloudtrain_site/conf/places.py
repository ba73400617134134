"""Where the code, its templates and the data are: in a checkout, and where cloudtrain is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: Where the rooms are imported from: the checkout, or site-packages.
BASE_DIR = PACKAGE.parent
#: A wheel has the templates inside this package (pyproject.toml), a checkout beside it.
IS_INSTALLED = (PACKAGE / "templates").is_dir()
TEMPLATES = (PACKAGE if IS_INSTALLED else BASE_DIR) / "templates"
#: What a person types before the name of a command.
COMMAND = "cloudtrain" if IS_INSTALLED else "manage.py"


def default_data_dir() -> Path:
    """`var` in the checkout; in the current folder, where cloudtrain is installed."""
    return (Path.cwd() if IS_INSTALLED else BASE_DIR) / "var"


def with_import_path(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with which Python finds our packages from any working folder.

    Unchanged where they are installed: they are found already, and a trainer's own Python must not get what is
    installed beside them.
    """
    if IS_INSTALLED:
        return dict(environment)
    others = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(BASE_DIR))]
    return {**environment, "PYTHONPATH": os.pathsep.join([str(BASE_DIR), *others])}
