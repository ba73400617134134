"""The secret that the declared providers name."""

from __future__ import annotations

import pytest

from tests.cloudtrain_site.conf.instances.declared import SECRET


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_STUDIO_TOKEN", SECRET)
