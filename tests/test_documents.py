"""The files that the README.md and CONTRIBUTING.md lead to are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md")
TOP = ("approvals/", "queueing/", "jobs/", "cloudtrain_site/", "templates/", "tests/", "docs/", "examples/", ".ci/")
#: What stands for a name of the reader's own.
PLACEHOLDER = re.compile("NAME|ROOM")


def quoted_paths(text: str) -> set[str]:
    """Each path in backquotes that begins at the top of the tree."""
    quoted = set(re.findall(r"`([\w./-]+)(?:: \w+)?`", text))
    return {path for path in quoted if path.startswith(TOP) and not PLACEHOLDER.search(path)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_paths_that_it_names_are_there(name: str) -> None:
    paths = quoted_paths((ROOT / name).read_text())
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_files_that_it_links_to_are_there(name: str) -> None:
    document = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert links
    assert [link for link in links if not (document.parent / link).exists()] == []
