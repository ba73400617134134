"""What the admin pages of all rooms share: they show state, and a lead's show their organizations' alone."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from jobs.access import is_superuser, manages_anything, organizations_of
from jobs.roles import MANAGERS

M = TypeVar("M", bound=Model)


class OwnOrganizationsFilter(admin.RelatedFieldListFilter):
    """A filter by organization that offers the user's own: the names of the others are nobody's business."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        """What there is to choose from."""
        own = {"pk__in": organizations_of(request.user, MANAGERS)}
        return field.get_choices(include_blank=False, limit_choices_to=own)


class ScopedAdmin(admin.ModelAdmin[M], Generic[M]):
    """Rows of the organizations that the user leads; everything for a superuser. Nothing is edited here."""

    #: The path from the model to its organization.
    organization_path = "organization"
    list_per_page = 50
    show_full_result_count = False

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """The page's filters."""
        return [(item, OwnOrganizationsFilter) if item == "organization" else item for item in self.list_filter]

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        """What the request's user may see."""
        rows = super().get_queryset(request)
        if is_superuser(request.user):
            return rows
        return rows.filter(**{f"{self.organization_path}__in": organizations_of(request.user, MANAGERS)})

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Leads and admins of any organization get in; so does every superuser."""
        return is_superuser(request.user) or manages_anything(request.user)

    def has_view_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """One row: only when it is among those that the user may see."""
        if obj is None:
            return self.has_module_permission(request)
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are made by the verbs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Status is shown, never edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Nothing that is on record is removed from here."""
        return False


class SuperuserAdmin(admin.ModelAdmin[M], Generic[M]):
    """Pages that only superusers see, with Django's usual editing."""

    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return is_superuser(request.user)
