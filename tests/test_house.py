"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.utils.module_loading import import_string

import approvals.statuses
import jobs.statuses
import queueing.statuses
from cloudtrain_site import settings

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("approvals", "queueing", "jobs", "cloudtrain_site")
SOURCES = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "migrations" not in path.parts]
HOSTS = ("py" + "pi.org", "npm" + "js.org", "cdn" + ".", "unpk" + "g.com", "jsdeliv" + "r")


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "states.py"], ids=str)
def test_status_is_written_by_change_state_alone(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\.update\([^)]*\bstatus=", text)
    assert not re.search(r"\w\.status\s*=[^=]", text)


PRESENTERS = [path for path in SOURCES if path.name.endswith("views.py") or {"admin", "admin.py"} & set(path.parts)]


@pytest.mark.parametrize("path", PRESENTERS, ids=str)
def test_views_and_admin_call_verbs_and_write_nothing(path: Path) -> None:
    text = re.sub(r"obj\.save\(update_fields|\.save\(commit=False\)", "", path.read_text())
    assert not re.search(r"\.(save|update|create|bulk_create|atomic)\(", text)


@pytest.mark.parametrize(
    ("statuses", "allowed"),
    [
        (jobs.statuses.JobStatus, jobs.statuses.ALLOWED),
        (queueing.statuses.EntryStatus, queueing.statuses.ALLOWED),
        (approvals.statuses.RequestStatus, approvals.statuses.ALLOWED),
    ],
)
def test_every_status_says_where_it_may_go(statuses: Iterable[str], allowed: dict[str, frozenset[str]]) -> None:
    assert set(allowed) == set(statuses)
    assert all(targets <= set(statuses) for targets in allowed.values())


@pytest.mark.parametrize("status", jobs.statuses.TERMINAL)
def test_an_ended_job_goes_nowhere(status: str) -> None:
    assert jobs.statuses.ALLOWED[status] == frozenset()


def test_no_file_names_a_package_registry_or_a_cdn() -> None:
    kept = [
        p
        for p in ROOT.rglob("*")
        if p.is_file() and not {".venv", ".ray", ".git", "vendor", "var", ".mypy_cache"} & set(p.parts)
    ]
    texts = {
        path: path.read_text(errors="ignore")
        for path in kept
        if path.suffix in {".py", ".html", ".md", ".txt", ".toml", ".js"}
    }
    assert not [path for path, text in texts.items() for host in HOSTS if host in text and path.name != "test_house.py"]


def test_no_folder_has_more_than_25_modules() -> None:
    counts = Counter(path.parent.relative_to(ROOT) for path in SOURCES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > 25} == {}


def strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.items() for text in strings_in(item))
    elif isinstance(value, list | tuple):
        yield from (text for item in value for text in strings_in(item))


def names_something(text: str) -> bool:
    """Whether a program, with its parts separated by dots, is what the text looks like."""
    is_dotted = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text) is not None
    return is_dotted and importlib.util.find_spec(text.partition(".")[0]) is not None


SETTINGS = sorted({text for name in dir(settings) if name.isupper() for text in strings_in(getattr(settings, name))})


@pytest.mark.parametrize("path", [text for text in SETTINGS if names_something(text)])
def test_what_the_settings_name_is_there(path: str) -> None:
    if path == settings.KNOX_TOKEN_MODEL:
        assert apps.get_model(path)
    else:
        assert found(path) is not None


def found(path: str) -> ModuleType | Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return import_string(path)


def test_the_supervisor_loads_no_database() -> None:
    program = "import sys, cloudtrain_site.serving.supervisor; print('django.db' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


#: Strings of a room that name a room above it, and why they may.
UPWARD_NAMES = {
    ("cloudtrain_site/enterprise.py", "jobs.sample_trainer"),  # the default of a setting, which operators replace
    ("cloudtrain_site/models.py", "jobs.Organization"),  # the database ends a key with its organization
}
WIRING = ("cloudtrain_site/settings.py", "cloudtrain_site/urls.py")


@pytest.mark.parametrize("room", ROOMS[1:])
def test_no_string_names_a_room_above(room: str) -> None:
    above = re.compile(rf"({'|'.join(ROOMS[: ROOMS.index(room)])})\.\w")
    named = {
        (str(path.relative_to(ROOT)), node.value)
        for path in SOURCES
        if path.is_relative_to(ROOT / room) and str(path.relative_to(ROOT)) not in WIRING
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and above.match(node.value)
    }
    assert named == {(path, text) for path, text in UPWARD_NAMES if path.startswith(room)}
