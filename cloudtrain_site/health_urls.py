"""Addresses of the health pages."""

from __future__ import annotations

urlpatterns: list[object] = []
