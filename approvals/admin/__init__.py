"""The approvals' part of Django's admin. Importing a module registers its pages."""

from __future__ import annotations

from approvals.admin import requests, rules

__all__ = ["requests", "rules"]
