"""Forms of the admin whose changes go on record, and the forms of people and members."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from rest_framework import exceptions

from cloudtrain_site.api import current_user
from cloudtrain_site.audit.recording import differences, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.admin_base import PlainNamesAdmin
from jobs.models import Membership, Organization, ServiceAccount
from jobs.organizations.members import add_member, change_role, remove_member
from jobs.organizations.people import RIGHTS, check_rights, set_rights
from jobs.roles import Role

M = TypeVar("M", bound=Model)


class PermissionsField(forms.ModelMultipleChoiceField[Permission]):
    """Permissions, each named once: Django's label has the model before a name that has it, too."""

    def label_from_instance(self, obj: Any) -> str:
        application, _, _ = obj.content_type.app_labeled_name.partition(" | ")
        return f"{application}: {obj.name}"


class RecordsEdits(admin.ModelAdmin[M], Generic[M]):
    """Pages whose every change is one audit record, in the transaction of the change."""

    #: Fields of which the record says that they changed, and not how.
    unrecorded: ClassVar[frozenset[str]] = frozenset()
    #: Fields that verbs change, which record it.
    by_verbs: ClassVar[frozenset[str]] = frozenset()

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        if db_field.related_model is Permission:
            kwargs["form_class"] = PermissionsField
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[arg-type]

    def save_model(self, request: HttpRequest, obj: M, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        by_others = ("password", "usable_password", *self.by_verbs)
        fields = [name for name in form.changed_data if not name.startswith(by_others)]
        before = {name: self._value(name, form.initial.get(name), "former") for name in fields}
        after = {name: self._value(name, form.cleaned_data.get(name), "new") for name in fields}
        if not change:
            self._record(request, obj, "made", None, after)
        elif fields:
            self._record(request, obj, "changed", *differences(before, after))

    def delete_model(self, request: HttpRequest, obj: M) -> None:
        self._record(request, obj, "removed")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[M]) -> None:
        with unit_of_work():
            for row in queryset:
                self._record(request, row, "removed")
            super().delete_queryset(request, queryset)

    def _record(
        self,
        request: HttpRequest,
        obj: M,
        change: str,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        kind = str(self.opts.verbose_name).replace(" ", "_")
        organization = obj if isinstance(obj, Organization) else getattr(obj, "organization", None)
        by = current_user(request)
        record(f"{kind}_{change}", obj, by=by, organization=organization, before=before, after=after)

    def _value(self, name: str, value: Any, which: str) -> Any:
        if name in self.unrecorded:
            return f"{which}, not recorded"
        if isinstance(value, Model):
            return str(value)
        if isinstance(value, datetime):
            return value.replace(microsecond=0)  # a form has no finer ones
        if isinstance(value, QuerySet | list):
            return [str(item) if isinstance(item, Model) else item for item in value]
        return value


class UserForm(UserChangeForm[User]):
    """Django's form of a user, whose rights the verbs change."""

    #: Who changes it.
    by: ClassVar[User]

    class Meta(UserChangeForm.Meta):
        help_texts: ClassVar = {
            "is_active": "Without it the user can't sign in, and sessions and API keys end for good. Jobs stay.",
            "is_staff": "May open this admin. Leads and admins of an organization may open it without this.",
        }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        try:
            check_rights(self.instance, self.changed_rights(), by=self.by)
        except (Conflict, exceptions.PermissionDenied) as problem:
            raise ValidationError(str(problem.detail)) from None
        return cleaned

    def changed_rights(self) -> dict[str, bool]:
        return {name: self.cleaned_data[name] for name in RIGHTS if name in self.changed_data}


class RecordedUserAdmin(RecordsEdits[User], PlainNamesAdmin[User], UserAdmin):  # type: ignore[type-arg]
    """Django's own pages of users; a service account has neither a password nor rights of its own there."""

    form = UserForm
    labels: ClassVar = {"username": "user name", "email": "mail address"}
    by_verbs = frozenset(RIGHTS)
    service_account_fieldsets: ClassVar = (
        (
            None,
            {
                "fields": ("username", "is_active"),
                "description": "A service account: it acts by API keys alone. The settings of its organization have "
                "its keys and remove it.",
            },
        ),
        ("Important dates", {"fields": ("last_login", "date_joined")}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Leave service accounts to the settings of their organizations."""
        return not hasattr(obj, "service_account") and super().has_delete_permission(request, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show it; of a service account without a button for another one, which only the settings make."""
        if hasattr(kwargs["obj"], "service_account"):
            context["show_save_and_add_another"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None or not hasattr(obj, "service_account"):
            return super().get_fieldsets(request, obj)
        return self.plain_fieldsets(self.service_account_fieldsets, request, obj)

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form; a name that is only shown has no hint for typing it."""
        kwargs["labels"] = {name: capfirst(label) for name, label in self.labels.items()}
        if obj is not None and hasattr(obj, "service_account"):
            kwargs["help_texts"] = {"username": "", "is_active": "Without it the account's API keys end, for good."}
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.by = current_user(request)
        return form

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save it after the verbs, which end a deactivated user's keys and sessions."""
        if change:
            set_rights(obj, form.changed_rights(), by=current_user(request))
        super().save_model(request, obj, form, change)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Return them with a name that no person can have: the form's validator would refuse it untouched."""
        names = super().get_readonly_fields(request, obj)
        is_fixed = obj is not None and ":" in obj.username
        return [*names, "username", self._plain_or_linked("username")] if is_fixed else names

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set somebody's password, and put on record that it was."""
        if ServiceAccount.objects.filter(user_id=id).exists():
            raise PermissionDenied("A service account has no password.")
        with unit_of_work():
            answer = super().user_change_password(request, id, form_url)
            user = (
                User.objects.filter(pk=id).first() if request.method == "POST" and answer.status_code == 302 else None
            )
            if user is not None:
                record("password_set", user, by=current_user(request))
        return answer


admin.site.unregister(Group)


@admin.register(Group)
class RecordedGroupAdmin(RecordsEdits[Group], GroupAdmin):  # type: ignore[misc]
    """Django's own pages of groups, whose members may decide about approvals."""

    why_nothing = "Add a group to let its members decide about approval requests."
    filter_horizontal = ()


class MembershipForm(forms.ModelForm[Membership]):
    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A membership of somebody else is another membership.
        self.fields["user"].disabled = self.instance.pk is not None


class MembershipFormSet(forms.BaseInlineFormSet[Membership, Organization, forms.ModelForm[Membership]]):
    """Keeps an admin in an organization that has one."""

    def add_fields(self, form: Any, index: int | None) -> None:
        """Name each field: in a table Django has no labels."""
        super().add_fields(form, index)
        for field in form.fields.values():
            field.widget.attrs["aria-label"] = field.label

    def clean(self) -> None:
        super().clean()
        rows = [form.cleaned_data for form in self.forms if getattr(form, "cleaned_data", None)]
        if self.instance.is_closed and any(form.has_changed() and not form.instance.pk for form in self.forms):
            raise ValidationError(f"{self.instance} is closed and accepts no new members.")
        stay = [row for row in rows if not row.get("DELETE") and row.get("role") == Role.ADMIN]
        had = self.instance.pk and self.instance.memberships.filter(role=Role.ADMIN, user__is_active=True).exists()
        if had and not any(row["user"].is_active for row in stay if row.get("user")):
            raise ValidationError("An admin stays in the organization. Make somebody else an admin first.")


class MembershipInline(admin.TabularInline[Membership, Organization]):
    """Members, changed by the verbs."""

    model = Membership
    form = MembershipForm
    formset = MembershipFormSet
    extra = 0
    autocomplete_fields = ("user",)


def store_members(request: HttpRequest, organization: Organization, forms_: Iterable[forms.ModelForm[Any]]) -> None:
    """Do what the lines of a `MembershipFormSet` say; who comes or rises is first, so that an admin is always there."""
    by = current_user(request)
    changed = [form for form in forms_ if form.has_changed()]
    leaving = [form for form in changed if form.cleaned_data.get("DELETE") and form.instance.pk]
    staying = [form for form in changed if not form.cleaned_data.get("DELETE")]
    for form in sorted(staying, key=lambda form: form.cleaned_data["role"] != Role.ADMIN):
        user, role = cast(User, form.cleaned_data["user"]), Role(form.cleaned_data["role"])
        if form.instance.pk:
            change_role(organization, user, role, by=by)
        else:
            add_member(organization, user, role, by=by)
    for form in leaving:
        remove_member(organization, form.instance.user, by=by)
