"""The addresses of an organization's settings."""

from __future__ import annotations

from django.urls import path

from jobs.dashboard.settings import config_views, discovered_views, frame, history_views, members_views

BASE = "organizations/<slug:organization>/settings"

urlpatterns = [
    path("settings", frame.settings, name="settings"),
    path(BASE, frame.settings_of, name="settings-of"),
    path(f"{BASE}/members", members_views.members, name="settings-members"),
    path(f"{BASE}/configs", config_views.configs, name="settings-configs"),
    path(f"{BASE}/configs/new", config_views.new_config, name="settings-new-config"),
    path(f"{BASE}/configs/<int:config_id>", config_views.config, name="settings-config"),
    path(f"{BASE}/configs/<int:config_id>/delete", config_views.delete_config, name="settings-delete-config"),
    path(f"{BASE}/history", history_views.history, name="settings-history"),
    path(f"{BASE}/history.csv", history_views.history_file, name="settings-history-file"),
    path(f"{BASE}/discovered", discovered_views.discovered, name="settings-discovered"),
    path(f"{BASE}/discovered/<str:provider>/take", discovered_views.take_discovered, name="settings-take-discovered"),
]
