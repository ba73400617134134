"""The pages of one's own notices: channels, and what became of each delivery."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from cloudtrain_site.accounts.preferences import change_preferences, mail_choices
from cloudtrain_site.api import current_user
from cloudtrain_site.errors import Conflict
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.limits.pages import within_limits
from cloudtrain_site.notices import channels
from cloudtrain_site.notices.channels import Made, Owner
from cloudtrain_site.notices.models import ChannelKind
from jobs.dashboard.navigation import page, page_context
from jobs.dashboard.notices.deliveries import newest, page_of
from jobs.dashboard.notices.forms import ChannelForm, act_on, choices_of, muted_in, shown_channels

View = Callable[..., HttpResponse]


def acting(*methods: str) -> Callable[[View], View]:
    """Decorate a page that changes something of the reader's own; what a verb refuses is shown on the page."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **parts: Any) -> HttpResponse:
            try:
                return view(request, current_user(request), **parts)
            except Conflict as error:
                messages.error(request, str(error.detail))
                return redirect("notices")

        limited = within_limits(cast(View, answer))
        return cast(View, never_cache(login_required(require_http_methods(methods)(limited))))

    return decorate


@acting("GET", "HEAD", "POST")
def notices(request: HttpRequest, user: User) -> HttpResponse:
    """Show the reader's channels, and add one."""
    owner = Owner(user)
    form = ChannelForm(owner, request.POST if request.method == "POST" else None)
    made = form.add_to(owner) if request.method == "POST" else None
    if made is not None and not made.secret:
        messages.success(request, "Channel added. Send a test to check it.")
        return redirect("notices")
    is_refused = request.method == "POST" and made is None
    return _render(request, user, ChannelForm(owner) if made else form, made, status=400 if is_refused else 200)


def _render(
    request: HttpRequest, user: User, form: ChannelForm, made: Made | None, *, status: int = 200
) -> HttpResponse:
    around = page_context(request)
    owner, mail = Owner(user), mail_choices(user)
    browser = owner.channels().filter(kind=ChannelKind.BROWSER).first()
    context = {
        **around,
        "mail": [(name, label, mail[name]) for name, label in notice_choices(user).items()],
        "browser": browser,
        "browser_choices": choices_of(browser.muted if browser else []),
        "channels": shown_channels(owner),
        "form": form,
        "made": made,
        "deliveries": newest(owner.deliveries(), 5),
    }
    return render(request, "notices/own.html", context, status=status)


@acting("POST")
def mail(request: HttpRequest, user: User) -> HttpResponse:
    """Store which kinds are mailed, or send a test."""
    if request.POST.get("act") == "test":
        channels.send_test(Owner(user), None)
        messages.success(request, f"Test sent to {user.email}.")
    else:
        muted = muted_in(request.POST)
        change_preferences(user, mail={name: name not in muted for name in notice_choices(user)})
        messages.success(request, "Stored.")
    return redirect("notices")


@acting("POST")
def browser(request: HttpRequest, user: User) -> HttpResponse:
    """Have notices shown by the browsers in which the reader has open pages."""
    channels.add_channel(Owner(user), ChannelKind.BROWSER)
    messages.success(request, "This browser shows notices while a page of the site is open in the background.")
    return redirect("notices")


@acting("POST")
def channel(request: HttpRequest, user: User, channel_id: int) -> HttpResponse:
    """Do what a button of one channel says."""
    owner = Owner(user)
    row = get_object_or_404(owner.channels(), pk=channel_id)
    sentence, secret = act_on(owner, row, request.POST)
    messages.success(request, sentence)
    if secret:
        return _render(request, user, ChannelForm(owner), Made(row, secret))
    return redirect("notices")


@acting("POST")
def job_secret(request: HttpRequest, user: User) -> HttpResponse:
    """Make a new secret that signs the calls of the reader's jobs' own addresses, and show it once."""
    row = channels.job_webhook_channel(user.pk)
    return _render(request, user, ChannelForm(Owner(user)), Made(row, channels.rotate_secret(Owner(user), row)))


@page
def deliveries(request: HttpRequest) -> HttpResponse:
    """Show what became of each of the reader's notices."""
    around = page_context(request)
    return render(request, "notices/deliveries.html", {**around, **page_of(request, Owner(current_user(request)))})
