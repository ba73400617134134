"""What pyproject.toml asks for, what is pinned, and what the code imports are the same."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cloudtrain_site import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("approvals", "queueing", "jobs", "cloudtrain_site")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = [Requirement(text) for texts in PROJECT["optional-dependencies"].values() for text in texts]
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")
#: Imported where its extra is installed alone; several distributions share the name.
OF_EXTRAS = {"opentelemetry"}
#: uvicorn takes these where they are there.
USED_BY_UVICORN = {"httptools", "uvloop"}


def pinned(name: str) -> dict[str, str]:
    """The distributions in that file, with their versions; fails for a line that is no pin."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    pins = [PIN.fullmatch(line) for line in lines]
    assert None not in pins, f"{name} has a line that pins nothing"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


def imported() -> Iterator[str]:
    """The top-level packages that the rooms import, wherever in a module they do."""
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        beside = {neighbour.stem for neighbour in path.parent.glob("*.py")}  # what a script imports from its folder
        yield from (name for name in names_imported(path) if name not in beside)


def names_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def distributions() -> set[str]:
    """What has to be installed for these imports."""
    installed = packages_distributions()
    others = set(imported()) - set(sys.stdlib_module_names) - set(ROOMS) - OF_EXTRAS
    return {canonicalize_name(installed[package][0]) for package in others}


@pytest.mark.parametrize("requirement", DEPENDENCIES, ids=str)
def test_a_dependency_is_pinned_to_what_is_asked_for(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pinned("requirements.txt")[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", [*DEPENDENCIES, *EXTRAS], ids=str)
def test_a_developer_has_the_extras_too(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pinned("requirements-dev.txt")[canonicalize_name(requirement.name)])


def test_a_developer_has_the_versions_of_an_operator() -> None:
    assert pinned("requirements.txt").items() <= pinned("requirements-dev.txt").items()


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in DEPENDENCIES}
    assert distributions() == declared - USED_BY_UVICORN


def test_the_version_is_the_released_one_or_on_the_way_to_the_next() -> None:
    first, second, *_ = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version = Version(__version__)
    if first == "Unreleased":
        assert version.is_devrelease
        assert version > Version(second)
    else:
        assert __version__ == first


def test_the_image_has_all_that_the_package_is_built_from() -> None:
    tool: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    wheel = tool["wheel"]
    built = {"pyproject.toml", PROJECT["readme"], PROJECT["license-files"][0], *wheel["packages"]}
    built |= {path.split("/")[0] for path in (*wheel["force-include"], *wheel["shared-data"])}
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
    assert built == {name for line in copied for name in line.split()} - {"requirements.txt", ".gitignore"}
    included = {path.strip("/") for path in tool["sdist"]["include"]}
    assert built - {"pyproject.toml", PROJECT["readme"], PROJECT["license-files"][0]} <= included  # hatch adds those


@pytest.mark.slow
def test_the_command_tells_our_version_and_not_djangos() -> None:
    done = subprocess.run([sys.executable, "manage.py", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"cloudtrain {__version__}\n")


def test_the_editor_has_the_versions_and_licences_that_its_sources_name() -> None:
    sources = json.loads((ROOT / "jobs/static_sources/codemirror/package.json").read_text())
    licences = (ROOT / "jobs/static/cloudtrain/vendor/codemirror-6/LICENSE").read_text()
    named = dict(re.findall(r"^(\S+) (\d\S*) \(MIT\)$", licences, re.MULTILINE))
    assert named == sources["dependencies"]
    assert all(re.fullmatch(r"[\d.]+", version) for version in [*named.values(), *sources["devDependencies"].values()])
