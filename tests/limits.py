"""Limits for the tests, other than the defaults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SetLimits = Callable[..., None]


@pytest.fixture
def set_limits(monkeypatch: pytest.MonkeyPatch) -> SetLimits:
    """Set limits by their keys, as the environment does."""

    def set_them(**values: int) -> None:
        for key, value in values.items():
            monkeypatch.setenv(f"CLOUDTRAIN_LIMIT_{key.upper()}", str(value))

    return set_them
