"""The settings of the database, by the role of the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain_site.conf.database import database_settings
from cloudtrain_site.conf.environment import Environment


@pytest.mark.parametrize("url", ["sqlite:///site.sqlite3", "postgres://bob@host/db"])
def test_a_forked_process_keeps_nothing_of_its_parents_role(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    web, worker = (database_settings(Environment(), data_dir=tmp_path, role=role) for role in ("web", "worker"))
    assert {**worker, **web} == web
    assert {**web, **worker} == worker
