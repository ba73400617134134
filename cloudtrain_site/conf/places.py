"""The folders of code, templates and data, in a checkout and in an installation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: The import path of the rooms: the checkout, or site-packages.
BASE_DIR = PACKAGE.parent
#: A wheel has the templates inside this package (pyproject.toml), a checkout beside it.
IS_INSTALLED = (PACKAGE / "templates").is_dir()
TEMPLATES = (PACKAGE if IS_INSTALLED else BASE_DIR) / "templates"
#: The program that a person types before a command's name.
COMMAND = "cloudtrain" if IS_INSTALLED else "manage.py"


def default_data_dir() -> Path:
    """Return `var` in the checkout, or in the current folder of an installation."""
    return (Path.cwd() if IS_INSTALLED else BASE_DIR) / "var"


def with_import_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment`, extended so that Python finds our packages from any working folder.

    Unchanged in an installation: Python finds them anyway, and a trainer's own Python must not get the packages that
    are installed beside them.
    """
    if IS_INSTALLED:
        return dict(environment)
    others = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(BASE_DIR))]
    return {**environment, "PYTHONPATH": os.pathsep.join([str(BASE_DIR), *others])}
