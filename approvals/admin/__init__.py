"""The room's part of Django's admin, which registers whatever this package imports."""

from __future__ import annotations

from approvals.admin import requests, rules

__all__ = ["requests", "rules"]
