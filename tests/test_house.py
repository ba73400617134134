"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import approvals.statuses
import jobs.statuses
import queueing.statuses

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
        if p.is_file() and not {".venv", ".git", "vendor", "var", ".mypy_cache"} & set(p.parts)
    ]
    texts = {
        path: path.read_text(errors="ignore")
        for path in kept
        if path.suffix in {".py", ".html", ".md", ".txt", ".toml", ".js"}
    }
    assert not [path for path, text in texts.items() for host in HOSTS if host in text and path.name != "test_house.py"]
