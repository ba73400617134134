"""API keys in the admin: made for somebody, shown once, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.http import HttpRequest

from cloudtrain_site.models import ApiKey
from jobs.admin_base import SuperuserAdmin

DEFAULT_DAYS = 365


class NewKeyForm(forms.ModelForm[ApiKey]):
    """Whose key, what for, and for how long."""

    user = forms.ModelChoiceField(User.objects.filter(is_active=True).order_by("username"))
    days = forms.IntegerField(min_value=1, max_value=3650, initial=DEFAULT_DAYS, help_text="How long it is valid.")

    class Meta:
        model = ApiKey
        fields = ("user", "name")


@admin.register(ApiKey)
class ApiKeyAdmin(SuperuserAdmin[ApiKey]):
    """Every key by its first characters; the key itself is not kept."""

    list_display = ("token_key", "user", "name", "created", "expiry", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "name", "=token_key")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """A key is made and revoked, never changed."""
        return False

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The short form for a new one; Django's own to look at one."""
        return NewKeyForm if obj is None else super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        """What can be said of a key without the key."""
        return ("user", "name", "days") if obj is None else ("token_key", "user", "name", "created", "expiry")

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> ApiKey:
        """Make the key, and show it in the one message that ever has it."""
        wanted = form.cleaned_data
        made: ApiKey
        made, key = ApiKey.objects.create(
            user=wanted["user"], name=wanted["name"], expiry=timedelta(days=wanted["days"])
        )
        messages.warning(request, f"The key is {key} - copy it now, it is not shown again.")
        return made

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Already kept."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """A key has nothing beside it."""
