"""The API keys in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from cloudtrain_site.accounts.api_keys import issue_key, revoke_key
from cloudtrain_site.models import ApiKey, Scope
from cloudtrain_site.names import readable_name
from cloudtrain_site.states import Actor
from jobs.admin_base import SuperuserAdmin
from jobs.permissions import organizations_of

DEFAULT_LIFETIME_DAYS = 365


class NewKeyForm(forms.ModelForm[ApiKey]):
    user = forms.ModelChoiceField(User.objects.filter(is_active=True).order_by("username"))
    name = forms.CharField(max_length=100, required=False, validators=[readable_name])
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope}: {scope.label}") for scope in Scope],
        initial=[Scope.READ, Scope.SUBMIT],
        widget=forms.CheckboxSelectMultiple,
        help_text="What the key can do as the user.",
    )
    days = forms.IntegerField(
        min_value=1, max_value=3650, initial=DEFAULT_LIFETIME_DAYS, help_text="How long the key is valid."
    )

    class Meta:
        model = ApiKey
        fields = ("user", "name", "organization")
        help_texts = {"organization": "Limits the key to this organization. Leave empty for all of the user's."}

    def clean(self) -> dict[str, Any]:
        """Refuse an organization that is none of the user's."""
        cleaned: dict[str, Any] = super().clean() or {}
        user, organization = cleaned.get("user"), cleaned.get("organization")
        if user and organization and not organizations_of(user).filter(pk=organization.pk).exists():
            self.add_error("organization", f"{user} doesn't belong to {organization}.")
        return cleaned


@admin.register(ApiKey)
class ApiKeyAdmin(SuperuserAdmin[ApiKey]):
    """Every key by its first characters; the key itself is not stored."""

    why_nothing = "Add a key to let a program act as one of the users."
    list_display = ("token_key", "user", "name", "shown_scopes", "organization", "created", "expiry", "last_used_at")
    list_select_related = ("user", "organization")
    search_fields = ("user__username__folded", "name__folded", "=token_key")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """A key is made and revoked, never changed."""
        return False

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the short form for a new key, and Django's own for an existing one."""
        return NewKeyForm if obj is None else super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        if obj is None:
            return ("user", "name", "scopes", "organization", "days")
        made = ("token_key", "user", "name", "shown_scopes", "organization", "created", "expiry")
        return (*made, "last_used_at", "last_used_from")

    @admin.display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> ApiKey:
        """Make the key, and show it in the only message that ever contains it."""
        fields = form.cleaned_data
        organization = fields["organization"]
        row, key = issue_key(
            fields["user"],
            fields["name"],
            timedelta(days=fields["days"]),
            by=Actor.of(request.user),
            scopes=fields["scopes"],
            organization_id=organization and organization.pk,
        )
        messages.warning(request, f"The key is {key} - copy it now. You won't be able to see it again.")
        return row

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Do nothing: `save_form` has stored it."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Do nothing: a key has no related rows."""

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        revoke_key(obj.user, obj.token_key, by=Actor.of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            self.delete_model(request, key)
