"""The people of the site across organizations, and the end of their access."""

from __future__ import annotations

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404

from cloudtrain_site.errors import Conflict
from cloudtrain_site.people.export import download
from jobs.dashboard.site.frame import SitePage, pages_of, site_page
from jobs.organizations.overview import people_by_name
from jobs.organizations.people import deactivate_user, end_superuser, make_superuser, reactivate_user
from jobs.organizations.removal import remove_person, what_removal_takes

SECTION = "site-people"


@site_page(SECTION, "GET", "HEAD")
def people(page: SitePage) -> HttpResponse:
    """List people, and search among them."""
    return page.render("site/people.html", pages_of(page.request, people_by_name(page.search)))


@site_page(SECTION, "GET", "HEAD")
def person(page: SitePage, user_id: int) -> HttpResponse:
    """Show one person with all that can be done."""
    found = get_object_or_404(people_by_name(), pk=user_id)
    return page.render("site/person.html", {"person": found, "is_self": found == page.user})


@site_page(SECTION, "POST")
def set_active(page: SitePage, user_id: int) -> HttpResponse:
    """Deactivate or reactivate, as the field `active` says."""
    found = get_object_or_404(people_by_name(), pk=user_id)
    back = page.address("site-person", user_id=user_id)
    if page.request.POST.get("active") == "yes":
        is_changed = reactivate_user(found, by=page.user)
        return page.done(f"{found} has access again." if is_changed else f"{found} already has access.", back)
    is_changed = deactivate_user(found, by=page.user)
    return page.done(f"{found} is deactivated." if is_changed else f"{found} is already deactivated.", back)


@site_page(SECTION, "POST")
def set_superuser(page: SitePage, user_id: int) -> HttpResponse:
    """Make somebody a superuser or end it, as the field `superuser` says."""
    found = get_object_or_404(people_by_name(), pk=user_id)
    back = page.address("site-person", user_id=user_id)
    if page.request.POST.get("superuser") == "yes":
        is_changed = make_superuser(found, by=page.user)
        return page.done(f"{found} is a superuser now." if is_changed else f"{found} is already a superuser.", back)
    is_changed = end_superuser(found, by=page.user)
    return page.done(f"{found} is no longer a superuser." if is_changed else f"{found} isn't a superuser.", back)


@site_page(SECTION, "GET", "HEAD")
def export(page: SitePage, user_id: int) -> HttpResponseBase:
    """Download what is stored about a person."""
    return download(get_object_or_404(people_by_name(), pk=user_id))


@site_page(SECTION)
def removal(page: SitePage, user_id: int) -> HttpResponse:
    """Show what removing a person would do, and do it."""
    found = get_object_or_404(people_by_name(), pk=user_id)
    if not page.is_post:
        context = {"person": found, "removal": what_removal_takes(found), "is_self": found == page.user}
        return page.render("site/removal.html", context)
    back = page.address("site-remove-person", user_id=user_id)
    try:
        pseudonym = remove_person(found, by=page.user, cancel="cancel" in page.request.POST)
    except Conflict as problem:
        return page.refused(str(problem.detail), back)
    return page.done(f"The person was removed and is now called {pseudonym}.", page.address())
