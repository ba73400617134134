"""The members of an organization, and how somebody becomes one or stops being one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.dashboard.form_pages import stamp_of
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Invitation, Job, Membership
from jobs.organizations.authority import lock_organization
from jobs.organizations.invitation_mail import mail_invitation
from jobs.organizations.invitations import DEFAULT_DAYS, MAX_DAYS, invitations_of, invite, with_inviters, withdraw
from jobs.organizations.members import JobsOfMember, change_role, leave, members_of, people_in, remove_member
from jobs.roles import Role
from jobs.statuses import ACTIVE

SECTION = "settings-members"
_SELECTED = mark_safe(" selected")
#: The options of a member's role, by that role. They and an address took a third of a page of hundreds of members.
_OPTIONS = {
    chosen: format_html_join(
        "",
        '<option value="{}"{}>{}</option>',
        ((role, _SELECTED if role == chosen else "", role.label) for role in Role),
    )
    for chosen in Role
}


class InvitationForm(forms.Form):
    email = forms.EmailField(
        required=False,
        label="Mail address",
        help_text="Only a person with this address can accept. Leave empty for anybody with the link.",
        widget=forms.EmailInput(attrs={"class": "input", "autocomplete": "off"}),
    )
    role = forms.ChoiceField(
        choices=Role.choices, initial=Role.RESEARCHER, widget=forms.Select(attrs={"class": "input"})
    )
    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        initial=DEFAULT_DAYS,
        label="Valid for, in days",
        widget=forms.NumberInput(attrs={"class": "input figure"}),
    )


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class JobsForm(forms.Form):
    """What becomes of a leaving member's jobs."""

    jobs = forms.ChoiceField(
        choices=JobsOfMember.choices,
        initial=JobsOfMember.STAY,
        label="Jobs that have not ended",
        widget=forms.RadioSelect,
    )


@settings_page(SECTION, "GET", "HEAD")
def members(page: SettingsPage) -> HttpResponse:
    """List the members; for admins also the open invitations, with all that they may change."""
    return _list(page, InvitationForm())


@settings_page(SECTION, "POST")
def invite_member(page: SettingsPage) -> HttpResponse:
    """Invite somebody. The link is on the page that answers, and on no other."""
    page.require_admin()
    form = InvitationForm(page.request.POST)
    if not form.is_valid():
        return _list(page, form, status=400)
    values = form.cleaned_data
    invitation, token = invite(
        page.organization, Role(values["role"]), by=page.user, email=values["email"], days=values["days"]
    )
    link = page.request.build_absolute_uri(reverse("invitation", args=[token]))
    return _list(page, InvitationForm(), made=invitation, link=link, mailed=mail_invitation(invitation, link))


@settings_page(SECTION, "POST")
def withdraw_invitation(page: SettingsPage, invitation_id: int) -> HttpResponse:
    page.require_admin()
    invitation = withdraw(page.organization, invitation_id, by=page.user)
    return page.done(f"The invitation {_of(invitation)} was withdrawn. Its link no longer works.")


@settings_page(SECTION, "POST")
def set_role(page: SettingsPage, user_id: int) -> HttpResponse:
    page.require_admin()
    form = RoleForm(page.request.POST)
    if not form.is_valid():
        return page.refused("Choose one of the roles.")
    role = Role(form.cleaned_data["role"])
    with unit_of_work():
        lock_organization(page.organization)
        member = _find(page, user_id)
        page.check_stamp(member.role)
        is_changed = change_role(page.organization, member.user, role, by=page.user)
    if not is_changed:
        return page.done(f"{member.user} is {role.label.lower()} already.")
    return page.done(f"{member.user} is {role.label.lower()} now.")


@settings_page(SECTION)
def remove(page: SettingsPage, user_id: int) -> HttpResponse:
    """Ask what becomes of a member's jobs, and end the membership."""
    page.require_admin()
    member = _find(page, user_id)
    if member.user_id == page.user.pk:
        return HttpResponseRedirect(page.address("settings-leave"))
    form = JobsForm(page.request.POST if page.is_post else None)
    if not page.is_post or not form.is_valid():
        return _ask(page, member, form)
    cancelled = remove_member(page.organization, member.user, by=page.user, jobs=_choice(form))
    return page.done(f"{member.user} was removed from {page.organization}.{_cancelled_text(cancelled)}")


@settings_page(SECTION)
def leave_organization(page: SettingsPage) -> HttpResponse:
    """Ask what becomes of one's own jobs, and end one's membership."""
    member = _find(page, page.user.pk)
    form = JobsForm(page.request.POST if page.is_post else None)
    if not page.is_post or not form.is_valid():
        return _ask(page, member, form)
    cancelled = leave(page.organization, page.user, jobs=_choice(form))
    messages.success(page.request, f"You left {page.organization}.{_cancelled_text(cancelled)}")
    return HttpResponseRedirect(reverse("account"))


def _choice(form: JobsForm) -> JobsOfMember:
    return JobsOfMember(form.cleaned_data["jobs"])


def _cancelled_text(count: int) -> str:
    return f" {count} job{'' if count == 1 else 's'} cancelled." if count else ""


def _of(invitation: Invitation) -> str:
    return f"for {invitation.email}" if invitation.email else "for whoever has the link"


def _find(page: SettingsPage, user_id: int) -> Membership:
    member = people_in(page.organization).select_related("user").filter(user_id=user_id).first()
    if member is None:
        raise Http404
    return member


def _list(page: SettingsPage, form: InvitationForm, *, status: int = 200, **made: Any) -> HttpResponse:
    memberships, address = list(members_of(page.organization)), page.address()
    last_admin = _last_admin(memberships)
    context = {
        "members": [
            {
                "address": f"{address}/{member.user_id}",
                "name": member.user.username,
                "email": member.user.email,
                "is_active": member.user.is_active,
                "role": Role(member.role).label,
                "options": _OPTIONS[Role(member.role)],
                "stamp": stamp_of(member.role),
                "joined_at": member.joined_at,
                "last_seen": member.last_seen,  # type: ignore[attr-defined]
                "is_self": member.user_id == page.user.pk,
                "is_last_admin": member.user == last_admin,
                "has_second_factor": member.has_second_factor,  # type: ignore[attr-defined]
            }
            for member in memberships
        ],
        "may_leave": any(member.user_id == page.user.pk != (last_admin and last_admin.pk) for member in memberships),
        "form": form,
        "invitations": with_inviters(invitations_of(page.organization)) if page.administers else [],
        **made,
    }
    return page.render("settings/members.html", context, status=status)


def _last_admin(memberships: list[Membership]) -> User | None:
    """Return the only active admin; None: there are several, or none."""
    admins = [member.user for member in memberships if member.role == Role.ADMIN and member.user.is_active]
    return admins[0] if len(admins) == 1 else None


def _ask(page: SettingsPage, member: Membership, form: JobsForm) -> HttpResponse:
    jobs = Job.objects.filter(organization=page.organization, submitted_by=member.user, status__in=ACTIVE)
    context = {
        "member": member,
        "form": form,
        "is_self": member.user_id == page.user.pk,
        "job_count": jobs.count(),
        "is_last_admin": member.user == _last_admin(list(members_of(page.organization))),
    }
    return page.render("settings/remove_member.html", context, status=400 if page.is_post else 200)
