"""The common parts of all rooms' admin pages: read-only, and limited to a lead's own organizations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from cloudtrain_site.accounts.pages import framed
from cloudtrain_site.database.bounded_pages import BoundedPaginator
from cloudtrain_site.database.folding import folded
from cloudtrain_site.wording.admin_pages import NOTHING, PlainPages, Show
from cloudtrain_site.wording.values import isolated
from jobs.finding.search import about_jobs, matching
from jobs.models import Job
from jobs.permissions import is_superuser, organizations_of, own_teams
from jobs.providers import label_of, names
from jobs.providers.hardware_names import hardware_label
from jobs.roles import MANAGERS
from jobs.validators import plain_name

M = TypeVar("M", bound=Model)


def manages(request: HttpRequest) -> bool:
    """Whether the user is a lead or an admin of any organization."""
    return any(team.role in MANAGERS for team in own_teams(request))


class OwnOrganizationsFilter(admin.RelatedFieldListFilter):
    """A filter by organization that offers only the user's own: the names of others are confidential."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        own = {"pk__in": organizations_of(request.user, MANAGERS)}
        return field.get_choices(include_blank=False, limit_choices_to=own)


class ProviderFilter(admin.SimpleListFilter):
    """The providers that there are: Django's own filter would look for them among all rows."""

    title = parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(name, label_of(name)) for name in names()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(provider=self.value()) if self.value() else queryset


#: What the columns show that several rooms' models have.
SHOWN: Mapping[str, Show] = {
    "provider": label_of,
    **dict.fromkeys(("hardware", "hardware_profile", "default_hardware"), hardware_label),
}


def provider_choice(taken: Iterable[str]) -> forms.ChoiceField:
    """Return the field of a provider that has no row yet."""
    has_one = set(taken)
    return forms.ChoiceField(choices=[(name, label_of(name)) for name in names() if name not in has_one])


class FoldedSearch(PlainPages[M], Generic[M]):
    """Searches names as everywhere: `search_fields` has `name_key`, or `name__folded` where there is no such column."""

    shown = SHOWN

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[M], search_term: str) -> Any:
        return super().get_search_results(request, queryset, folded(search_term))


class ScopedAdmin(FoldedSearch[M], Generic[M]):
    """Rows of the organizations that the user leads; all rows for a superuser. Read-only."""

    #: The path from the model to its organization.
    organization_path = "organization"
    list_per_page = 50
    show_full_result_count = False
    paginator = BoundedPaginator

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [(item, OwnOrganizationsFilter) if item == "organization" else item for item in self.list_filter]

    def get_fields(self, request: HttpRequest, obj: M | None = None) -> Any:
        """Return the page's fields, without links to pages that the user may not see."""
        return [self._followable(field, request) for field in super().get_fields(request, obj)]

    def _followable(self, field: Any, request: HttpRequest) -> Any:
        if isinstance(field, list | tuple):
            return [self._followable(one, request) for one in field]
        columns = {column.name: column for column in self.model._meta.fields if column.is_relation}
        column = columns.get(field)
        if column is None or column.related_model is None:
            return field
        target = self.admin_site._registry.get(column.related_model)
        follows = target is not None and target.has_view_permission(request)
        return field if follows else _shown_plainly(column.name, str(column.verbose_name))

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        rows = super().get_queryset(request)
        if is_superuser(request.user):
            return rows
        own: Any = organizations_of(request.user, MANAGERS)
        if connection.vendor == "postgresql":
            # By their numbers it walks rows in their order, where it would read and sort all of theirs.
            own = list(own.order_by().values_list("pk", flat=True))
        return rows.filter(**{f"{self.organization_path}__in": own})

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Allow leads and admins of any organization, and superusers."""
        return is_superuser(request.user) or manages(request)

    def has_view_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Whether the row is among those that the user may see."""
        if obj is None:
            return self.has_module_permission(request)
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the verbs create rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Only the verbs change rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Records are never deleted here."""
        return False


def _shown_plainly(name: str, label: str) -> Callable[[Any], str]:
    """Return a column that names the target of `name`. Django's own links to it, whether or not the user may see it."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        return isolated(getattr(row, name) or NOTHING)

    return shown


class OfJobAdmin(ScopedAdmin[M], Generic[M]):
    """Rows about one job each, which link to its page, and are found by what finds the job."""

    search_help_text = "Id, name, submitter, the provider's id, or a correlation id of a job"

    @admin.display(description="job", ordering="job")
    def named(self, row: Any) -> str:
        return isolated(row.job)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[M], search_term: str) -> Any:
        """Find as the list of jobs does: Django's own conditions read every job."""
        text = search_term.strip().replace("\0", "")
        if not text:
            return queryset, False
        if self.model is Job:
            return queryset.filter(matching(text).walked), False
        return queryset.filter(about_jobs(matching(text).walked)), False

    def view_on_site(self, obj: M) -> str:
        return reverse("job-page", args=[getattr(obj, "job_id", obj.pk)])


class PlainNamesAdmin(FoldedSearch[M], Generic[M]):
    """Pages on which names are typed that other people read."""

    name_fields: ClassVar[Sequence[str]] = ("name",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest | None, **options: Any) -> Any:
        """The field; of a name, one that refuses what can't be seen."""
        field = super().formfield_for_dbfield(db_field, request, **options)  # type: ignore[arg-type]
        if field is not None and db_field.name in self.name_fields:
            field.validators.append(plain_name)
        return field


class SuperuserAdmin(FoldedSearch[M], Generic[M]):
    """Pages for superusers alone, with Django's usual editing."""

    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request.user)


class OfProviderAdmin(SuperuserAdmin[M], Generic[M]):
    """A model whose key is a provider's name."""

    why_no_more = "Every provider has one."

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether there is a provider without a row."""
        taken = self.model._default_manager.filter(pk__in=names()).count()
        return super().has_add_permission(request) and taken < len(names())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show it under the provider's title."""
        return super().change_view(
            request, object_id, form_url, {"subtitle": label_of(object_id), **(extra_context or {})}
        )


class CloudtrainAdminSite(AdminSite):
    """Admits staff, and leads and admins of any organization, who see only their organizations' rows."""

    site_header = "cloudtrain"
    site_title = "cloudtrain"
    index_title = "Administration"
    site_url = "/"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what each page needs, with the dashboard's bar."""
        frame = framed(request) if self.has_permission(request) else {}
        return {**frame, **super().each_context(request)}

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseRedirect:
        """Lead to the site's own sign-in. Raises PermissionDenied for who is signed in and may not be here."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponseRedirect:
        """Lead to the account's own page."""
        return HttpResponseRedirect(reverse("account_change_password"))

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return user.is_active and (user.is_staff or manages(request))
