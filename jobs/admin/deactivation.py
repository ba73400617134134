"""What the admin offers in place of deleting users and organizations: their jobs, and what those cost, are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from rest_framework import exceptions

from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from jobs.models import Organization
from jobs.organizations.endings import close, delete_organization
from jobs.organizations.people import check_superuser_stays, deactivate_user, delete_user
from jobs.permissions import is_superuser

M = TypeVar("M", bound=Model)


class DeactivatesAdmin(admin.ModelAdmin[M], Generic[M]):
    """Pages of rows that jobs refer to: where deleting is impossible, they offer something that has its use."""

    delete_confirmation_template = "admin/instead_of_deleting.html"
    delete_selected_confirmation_template = "admin/instead_of_deleting_several.html"
    actions = ("deactivate_selected",)
    #: The button, and what it does.
    instead: ClassVar[str]
    instead_means: ClassVar[str]

    def deactivate(self, request: HttpRequest, obj: M) -> None:
        """Do it. Raises Conflict with the reason when it can't be done."""
        raise NotImplementedError

    def objections(self, rows: Iterable[M]) -> list[str]:
        """Return why not all of `rows` can be deleted, besides what refers to them."""
        return []

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return what would be deleted with them; objections protect them as what refers to them does."""
        to_delete, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, lacking, [*protected, *self.objections(objs)]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[M]) -> None:
        for row in queryset:
            self.delete_model(request, row)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show Django's page, with the offer where it can't delete; and do what was offered."""
        if "deactivate" not in request.POST:
            offer = {"instead": self.instead, "instead_means": self.instead_means}
            return super().delete_view(request, object_id, {**(extra_context or {}), **offer})
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        self._deactivate_each(request, [row])
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list; Django's action that deletes several shows its page from here, with the offer."""
        answer = super().changelist_view(request, extra_context)
        if isinstance(answer, TemplateResponse) and answer.context_data is not None:
            answer.context_data |= {"instead": self.instead, "instead_means": self.instead_means}
        return answer

    def get_actions(self, request: HttpRequest) -> Any:
        """Return the actions, with the offer named for these rows."""
        actions = super().get_actions(request)
        if offered := actions.get("deactivate_selected"):
            actions["deactivate_selected"] = (*offered[:2], f"{self.instead} (selected %(verbose_name_plural)s)")
        return actions

    @admin.action(permissions=["change"])
    def deactivate_selected(self, request: HttpRequest, rows: QuerySet[M]) -> None:
        self._deactivate_each(request, list(rows))

    def _deactivate_each(self, request: HttpRequest, rows: list[M]) -> None:
        for row in rows:
            try:
                self.deactivate(request, row)
            except (Conflict, exceptions.PermissionDenied) as problem:
                messages.error(request, str(problem.detail))
            else:
                self.log_change(request, row, self.instead)
                messages.success(request, f"{self.instead}: done for {row}.")


class DeactivatesUsers(DeactivatesAdmin[User]):
    instead = "Deactivate"
    instead_means = (
        "The user can't sign in any more, and open pages stop at once. Jobs, history and costs stay; running jobs "
        "continue. This can be undone, but API keys and sessions end for good."
    )

    def objections(self, rows: Iterable[User]) -> list[str]:
        try:
            check_superuser_stays([user.pk for user in rows])
        except Conflict as problem:
            return [str(problem.detail)]
        return []

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Superusers alone delete accounts, whatever Django permits to others: `delete_user` refuses them."""
        return is_superuser(request.user) and super().has_delete_permission(request, obj)

    def deactivate(self, request: HttpRequest, obj: User) -> None:
        deactivate_user(obj, by=current_user(request))

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        delete_user(obj, by=current_user(request))


class DeactivatesOrganizations(DeactivatesAdmin[Organization]):
    instead = "Close"
    instead_means = (
        "No more jobs can be submitted for this organization, and its waiting jobs are cancelled. Running jobs "
        "continue. Members still see its jobs and costs. It can be reopened."
    )

    def objections(self, rows: Iterable[Organization]) -> list[str]:
        return [f"{organization} is open." for organization in rows if not organization.is_closed]

    def deactivate(self, request: HttpRequest, obj: Organization) -> None:
        close(obj, by=current_user(request))

    def delete_model(self, request: HttpRequest, obj: Organization) -> None:
        delete_organization(obj, by=current_user(request))
