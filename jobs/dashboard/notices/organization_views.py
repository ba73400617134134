"""The notices in an organization's settings: its channels, and what became of each delivery."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404

from cloudtrain_site.notices.channels import Made, Owner
from jobs.dashboard.notices.deliveries import newest, page_of
from jobs.dashboard.notices.forms import ChannelForm, act_on, shown_channels
from jobs.dashboard.settings.frame import SettingsPage, settings_page

SECTION = "settings-notices"


def owner_of(page: SettingsPage) -> Owner:
    return Owner(organization=page.organization, by=page.user)


@settings_page(SECTION)
def notices(page: SettingsPage) -> HttpResponse:
    """Show the organization's channels, and add one."""
    form = ChannelForm(owner_of(page), page.request.POST if page.is_post else None)
    made = form.add_to(owner_of(page)) if page.is_post else None
    if made is not None and not made.secret:
        return page.done("Channel added. Send a test to check it.")
    is_refused = page.is_post and made is None
    return _render(page, ChannelForm(owner_of(page)) if made else form, made, status=400 if is_refused else 200)


def _render(page: SettingsPage, form: ChannelForm, made: Made | None, *, status: int = 200) -> HttpResponse:
    owner = owner_of(page)
    context = {
        "channels": shown_channels(owner),
        "form": form,
        "made": made,
        "deliveries": newest(owner.deliveries(), 5),
    }
    return page.render("notices/organization.html", context, status=status)


@settings_page(SECTION, "POST")
def channel(page: SettingsPage, channel_id: int) -> HttpResponse:
    """Do what a button of one channel says."""
    owner = owner_of(page)
    row = get_object_or_404(owner.channels(), pk=channel_id)
    sentence, secret = act_on(owner, row, page.request.POST)
    if not secret:
        return page.done(sentence)
    messages.success(page.request, sentence)
    return _render(page, ChannelForm(owner), Made(row, secret))


@settings_page(SECTION, "GET", "HEAD")
def deliveries(page: SettingsPage) -> HttpResponse:
    """Show what became of each of the organization's notices."""
    return page.render("notices/organization_deliveries.html", page_of(page.request, owner_of(page)))
