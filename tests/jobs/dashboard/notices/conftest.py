"""The kinds of the notices' own tests."""

from __future__ import annotations

from tests.cloudtrain_site.notices.conftest import kinds

__all__ = ["kinds"]
