"""The jobs' part of Django's admin. Importing a module registers its pages."""

from __future__ import annotations

from jobs.admin import keys, ledger, pages

__all__ = ["keys", "ledger", "pages"]
