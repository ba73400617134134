"""Invitations: made by an organization's admins, accepted once, by whoever has the link or by one mail address."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import CharField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast
from django.http import Http404
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import Subject, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import Invitation, Membership, Organization
from jobs.organizations.authority import By, actor_of, check_administers, lock_organization
from jobs.organizations.members import join
from jobs.roles import Role

#: Logs mask what begins so, also within an address.
TOKEN_PREFIX = "ct_"  # noqa: S105 - a prefix, not a secret
DEFAULT_DAYS = 7
MAX_DAYS = 90
#: More would be a script's mistake, or a way to send mail to strangers.
MAX_OPEN = 100

MADE = "invitation_made"

#: One sentence for an unknown link and one that was cut, so that nobody learns which links there were.
NO_SUCH_LINK = "This invitation does not exist. Check that the link is complete."
NAME_TAKEN = "A user with that username already exists."
FOR_SOMEBODY_ELSE = "This invitation is for another mail address than that of your account."
_ENDED = {
    "accepted": "This invitation was already used.",
    "withdrawn": "This invitation was withdrawn. Ask for a new invitation.",
    "expired": "This invitation has expired. Ask for a new invitation.",
}


def invitations_of(organization: Organization) -> QuerySet[Invitation]:
    """Return the invitations that can still be accepted, newest first."""
    found = organization.invitations.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=timezone.now())
    return found.select_related("invited_by")


def with_inviters(invitations: QuerySet[Invitation]) -> QuerySet[Invitation]:
    """Add as `inviter` the name on record, for those that were made by nobody with an account: an operator, say."""
    made = AuditRecord.objects.filter(
        action=MADE, subject_kind="invitation", subject_id=Cast(OuterRef("pk"), CharField())
    )
    return invitations.annotate(inviter=Subquery(made.values("actor")[:1]))


def invite(
    organization: Organization, role: Role, *, by: By, email: str = "", days: int = DEFAULT_DAYS
) -> tuple[Invitation, str]:
    """Return a new invitation and its token, of which only a digest is stored.

    With `email` only a person with that address may accept it. Raises PermissionDenied, Conflict for a closed
    organization and for one with MAX_OPEN invitations, and ValidationError for an address that is none.
    """
    if email:
        validate_email(email)
    if not 1 <= days <= MAX_DAYS:
        raise ValidationError(f"An invitation lasts 1 to {MAX_DAYS} days.")
    token = TOKEN_PREFIX + secrets.token_hex(32)
    with unit_of_work():
        organization = lock_organization(organization)
        check_administers(by, organization)
        if organization.is_closed:
            raise Conflict(f"{organization} is closed and accepts no new members.")
        if invitations_of(organization).count() >= MAX_OPEN:
            raise Conflict(f"{organization} has {MAX_OPEN} open invitations. Withdraw some first.")
        actor = actor_of(by)
        invitation = Invitation.objects.create(
            organization=organization,
            email=User.objects.normalize_email(email),
            role=role,
            token_digest=_digest(token),
            invited_by_id=actor.user_id,
            expires_at=timezone.now() + timedelta(days=days),
        )
        after = {"role": role, "email": invitation.email, "expires_at": invitation.expires_at}
        record(MADE, _subject(invitation), by=actor, organization=organization, after=after)
    return invitation, token


def withdraw(organization: Organization, invitation_id: int, *, by: By) -> Invitation:
    """End an invitation. Raises PermissionDenied, Http404 for an unknown one, and Conflict for one that has ended."""
    with unit_of_work():
        organization = lock_organization(organization)
        check_administers(by, organization)
        invitation = Invitation.objects.select_for_update().filter(organization=organization, pk=invitation_id).first()
        if invitation is None:
            raise Http404
        _check_open(invitation)
        invitation.withdrawn_at = timezone.now()
        invitation.save(update_fields=["withdrawn_at"])
        record("invitation_withdrawn", _subject(invitation), by=actor_of(by), organization=organization)
    return invitation


def withdraw_all(organization: Organization) -> int:
    """Withdraw the open invitations of an organization that is being closed, under its lock. Returns how many."""
    return invitations_of(organization).update(withdrawn_at=timezone.now())


def find_invitation(token: str) -> Invitation:
    """Return the open invitation with this token. Raises Http404 for an unknown one, and Conflict for an ended one."""
    invitation = (
        Invitation.objects.select_related("organization", "invited_by").filter(token_digest=_digest(token)).first()
    )
    if invitation is None:
        raise Http404(NO_SUCH_LINK)
    _check_open(invitation)
    return invitation


def accept(token: str, user: User) -> Membership:
    """Make `user` a member. Of two who accept at once, one becomes it.

    Raises Http404 for an unknown token, Conflict for an invitation that has ended, a closed organization and somebody
    who is a member already (the invitation stays), and PermissionDenied for one that is tied to another address.
    """
    with unit_of_work():
        invitation = _lock(token)
        if not is_for(invitation, user):
            raise PermissionDenied(FOR_SOMEBODY_ELSE)
        return _accept(invitation, user)


def accept_as_new(token: str, username: str, password: str, *, email: str = "") -> User:
    """Make an account and accept the invitation with it: both, or neither. `email` is for an invitation without one.

    Raises ValidationError by field for what the account can't have, and what `accept` raises.
    """
    invitation = find_invitation(token)  # who has no invitation learns nothing of names and passwords
    user = User(username=username, email=User.objects.normalize_email(invitation.email or email))
    check_account(user, password)
    user.set_password(password)  # takes long, so not in the transaction
    with unit_of_work():
        invitation = _lock(token)
        check_account(user, password)
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            raise ValidationError({"username": [NAME_TAKEN]}) from None
        after = {"email": user.email}
        record("user_made", user, by=user, organization=invitation.organization, after=after)
        _accept(invitation, user)
    return user


def is_for(invitation: Invitation, user: User) -> bool:
    """Whether the invitation is tied to no address, or to that of `user`."""
    return not invitation.email or invitation.email.casefold() == user.email.casefold()


def _lock(token: str) -> Invitation:
    """Lock the organization and then the invitation, in the order of the other verbs. Raises as `find_invitation`."""
    organization = lock_organization(find_invitation(token).organization)
    invitation = Invitation.objects.select_for_update().get(token_digest=_digest(token))
    _check_open(invitation)
    invitation.organization = organization
    return invitation


def _accept(invitation: Invitation, user: User) -> Membership:
    membership = join(invitation.organization, user, Role(invitation.role), by=user)
    invitation.accepted_at, invitation.accepted_by = timezone.now(), user
    invitation.save(update_fields=["accepted_at", "accepted_by"])
    record("invitation_accepted", _subject(invitation), by=user, organization=invitation.organization)
    return membership


def _check_open(invitation: Invitation) -> None:
    state = invitation.state(timezone.now())
    if state != "open":
        raise Conflict(_ENDED[state], code=f"invitation_{state}")


def check_account(user: User, password: str) -> None:
    """Raise ValidationError, by field, for a name, an address or a password that the site doesn't take."""
    errors: dict[str, list[str]] = {}
    try:
        user.clean_fields(exclude=["password"])
        user.validate_unique()
    except ValidationError as error:
        errors.update(error.message_dict)
    # Names that differ by their capitals alone would be taken for each other.
    if "username" not in errors and User.objects.filter(username__iexact=user.username).exists():
        errors["username"] = [NAME_TAKEN]
    if "email" not in errors and user.email and User.objects.filter(email__iexact=user.email).exists():
        errors["email"] = ["This address can't be used for another account. If you have an account, sign in to accept."]
    try:
        if not password:
            raise ValidationError("Choose a password.")
        validate_password(password, user)
    except ValidationError as error:
        errors["password"] = error.messages
    if errors:
        raise ValidationError(errors)


def _subject(invitation: Invitation) -> Subject:
    return Subject("invitation", str(invitation.pk), invitation.email or "by link")


def _digest(token: str) -> str:
    """Return what is stored of a token: it is too long to be guessed, so a plain digest reveals nothing."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
