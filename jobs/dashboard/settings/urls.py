"""The addresses of an organization's settings, and of the invitations into one."""

from __future__ import annotations

from django.urls import path

from jobs.dashboard import invitation_views
from jobs.dashboard.settings import (
    config_views,
    discovered_views,
    frame,
    general_views,
    history_views,
    members_views,
    results_views,
    service_account_views,
    tag_views,
)

BASE = "organizations/<slug:organization>/settings"

urlpatterns = [
    path("invitations/<str:token>", invitation_views.invitation, name="invitation"),
    path("settings", frame.settings, name="settings"),
    path(BASE, frame.settings_of, name="settings-of"),
    path(f"{BASE}/general", general_views.general, name="settings-general"),
    path(f"{BASE}/members", members_views.members, name="settings-members"),
    path(f"{BASE}/members/invite", members_views.invite_member, name="settings-invite"),
    path(f"{BASE}/members/leave", members_views.leave_organization, name="settings-leave"),
    path(f"{BASE}/members/<int:user_id>/role", members_views.set_role, name="settings-role"),
    path(f"{BASE}/members/<int:user_id>/remove", members_views.remove, name="settings-remove"),
    path(
        f"{BASE}/invitations/<int:invitation_id>/withdraw", members_views.withdraw_invitation, name="settings-withdraw"
    ),
    path(f"{BASE}/service-accounts", service_account_views.accounts, name="settings-service-accounts"),
    path(f"{BASE}/service-accounts/<str:account>", service_account_views.account, name="settings-service-account"),
    path(
        f"{BASE}/service-accounts/<str:account>/remove",
        service_account_views.remove,
        name="settings-remove-service-account",
    ),
    path(
        f"{BASE}/service-accounts/<str:account>/keys/<str:key_id>/revoke",
        service_account_views.revoke,
        name="settings-revoke-key",
    ),
    path(f"{BASE}/configs", config_views.configs, name="settings-configs"),
    path(f"{BASE}/configs/new", config_views.new_config, name="settings-new-config"),
    path(f"{BASE}/configs/<int:config_id>", config_views.config, name="settings-config"),
    path(f"{BASE}/configs/<int:config_id>/delete", config_views.delete_config, name="settings-delete-config"),
    path(f"{BASE}/results", results_views.results, name="settings-results"),
    path(f"{BASE}/tags", tag_views.tags, name="settings-tags"),
    path(f"{BASE}/tags/<int:tag_id>/rename", tag_views.rename, name="settings-rename-tag"),
    path(f"{BASE}/tags/<int:tag_id>/remove", tag_views.remove, name="settings-remove-tag"),
    path(f"{BASE}/history", history_views.history, name="settings-history"),
    path(f"{BASE}/history.csv", history_views.history_file, name="settings-history-file"),
    path(f"{BASE}/discovered", discovered_views.discovered, name="settings-discovered"),
    path(f"{BASE}/discovered/<str:provider>/take", discovered_views.take_discovered, name="settings-take-discovered"),
    path(f"{BASE}/discovered/jobs/<str:job_id>/take", discovered_views.take_one, name="settings-take-job"),
    path(f"{BASE}/discovered/jobs/<str:job_id>/assign", discovered_views.assign, name="settings-assign-job"),
    path(f"{BASE}/discovered/jobs/<str:job_id>/discard", discovered_views.discard, name="settings-discard-job"),
]
