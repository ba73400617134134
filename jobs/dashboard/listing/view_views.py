"""How one sees the list: its columns, and saved views. Each form leads back to the list that it came from."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.preferences import change_preferences, preferences_of
from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.limits.pages import within_limits
from jobs.dashboard.listing.columns import COLUMNS, MOST, columns_of
from jobs.dashboard.navigation import part
from jobs.models import Organization
from jobs.models.view import MAX_NAME
from jobs.organizations.saved_lists import may_remove, remove_view, save_view, views_for
from jobs.permissions import teams_of


@part
def view_panel(request: HttpRequest) -> HttpResponse:
    """Render the forms of the columns and of the saved views."""
    teams = teams_of(request.user)
    chosen = columns_of(request.GET.get("columns") or preferences_of(request.user).list_columns)
    context = {
        "columns": [(name, column.label, name in chosen) for name, column in COLUMNS.items()],
        "most": MOST,
        "views": [(view, may_remove(view, request.user, teams)) for view in views_for(request.user, teams)],
        "teams": [team.name for team in teams],
        "max_name": MAX_NAME,
        "query": request.GET.urlencode(),
    }
    return render(request, "dashboard/_view_panel.html", context)


@never_cache
@login_required
@require_POST
@within_limits
def list_columns(request: HttpRequest) -> HttpResponse:
    """Store which columns the reader picks."""
    names = [name for name in request.POST.getlist("column") if name in COLUMNS]
    user, chosen = current_user(request), ",".join(names[:MOST])
    if chosen != preferences_of(user).list_columns:
        change_preferences(user, list_columns=chosen)
    if len(names) > MOST:
        messages.warning(request, f"The list has room for {MOST} columns: the first {MOST} are shown.")
    return _back(request, without="columns")


@never_cache
@login_required
@require_POST
@within_limits
def new_view(request: HttpRequest) -> HttpResponse:
    """Save the list's address under a name."""
    user, team_name = current_user(request), request.POST.get("organization", "")
    team = next((team for team in teams_of(user) if team.name == team_name), None)
    if team_name and team is None:
        raise Http404
    organization = Organization.objects.get(pk=team.id) if team else None
    try:
        view = save_view(
            request.POST.get("name", ""), QueryDict(request.POST.get("query", "")), by=user, organization=organization
        )
        messages.success(request, f"View {view.name} saved.")
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    except Conflict as error:
        messages.error(request, str(error.detail))
    return _back(request)


@never_cache
@login_required
@require_POST
@within_limits
def delete_view(request: HttpRequest, view_id: int) -> HttpResponse:
    """Remove a saved view."""
    user = current_user(request)
    try:
        messages.success(request, f"View {remove_view(view_id, by=user, teams=teams_of(user)).name} removed.")
    except PermissionDenied as error:
        messages.error(request, str(error))
    return _back(request)


def _back(request: HttpRequest, without: str = "") -> HttpResponseRedirect:
    query = QueryDict(request.POST.get("query", ""), mutable=True)
    query.pop(without, None)
    return HttpResponseRedirect(f"{reverse('dashboard')}?{query.urlencode()}" if query else reverse("dashboard"))
