"""Which account a person of the identity provider has here: by issuer and subject; an address may link one once."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q

from cloudtrain_site.accounts.sso.claims import Identity
from cloudtrain_site.accounts.sso.errors import SignOnError
from cloudtrain_site.audit.models import AuditSource
from cloudtrain_site.audit.origin import coming_from
from cloudtrain_site.audit.recording import record
from cloudtrain_site.conf.sign_in import SingleSignOn
from cloudtrain_site.states import Actor

#: Who makes what a sign-in at the identity provider makes.
PROVIDER = Actor(name="single sign-on")
_TRIES = 3


def account_of(sso: SingleSignOn, identity: Identity) -> User:
    """Return the person's active account; a first sign-in links one or makes one.

    Raises SignOnError, with nothing made: for a deactivated account, for an address that an account here has which may
    not be linked by it, and for a person without an account where none are made.
    """
    for _ in range(_TRIES - 1):
        try:
            return _account_of(sso, identity)
        except IntegrityError:
            continue  # another first sign-in came first: of the same person, or with the same name
    return _account_of(sso, identity)


@transaction.atomic
def _account_of(sso: SingleSignOn, identity: Identity) -> User:
    link = SocialAccount.objects.select_related("user").filter(provider=sso.issuer, uid=identity.subject).first()
    user = link.user if link else _user_by_mail(sso, identity) or _new_user(sso, identity)
    if not user.is_active:
        raise SignOnError("Your account here is deactivated. Ask an admin.", code="deactivated")
    if link is None:
        link = _link(sso, identity, user, by=PROVIDER)
    # For the person's API keys, which no session tells of.
    link.extra_data = {"second_factor": identity.has_second_factor}
    link.save()
    return user


def is_active_superuser(user: User) -> bool:
    return user.is_active and user.is_superuser


def is_connected(sso: SingleSignOn, user: User) -> bool:
    return bool(SocialAccount.objects.filter(provider=sso.issuer, user=user).exists())


def connect(sso: SingleSignOn, identity: Identity, user: User) -> None:
    """Link the account of a person who is signed in and has just confirmed it. Raises SignOnError."""
    with transaction.atomic():
        link = SocialAccount.objects.filter(provider=sso.issuer, uid=identity.subject).first()
        if link is not None and link.user_id != user.pk:
            raise SignOnError("That account is already connected to another account here.", code="linked_elsewhere")
        if link is None and SocialAccount.objects.filter(provider=sso.issuer, user=user).exists():
            raise SignOnError(
                "Your account is connected to another account at the identity provider. Disconnect that one first.",
                code="linked_already",
            )
        if link is None:
            _link(sso, identity, user, by=Actor.of(user))


def disconnect(sso: SingleSignOn, user: User) -> bool:
    """Remove the link of an account that has a password too. False: there is none to remove."""
    with transaction.atomic():
        links = SocialAccount.objects.select_for_update().filter(provider=sso.issuer, user=user)
        if not user.has_usable_password() or not links.exists():
            return False
        links.delete()
        record("sso_disconnected", user, by=user, before={"issuer": sso.issuer})
    return True


def _user_by_mail(sso: SingleSignOn, identity: Identity) -> User | None:
    """Return the account that the address links; None: nobody here has the address.

    Linking gives whoever speaks for the provider a way into the account, so it needs all of this: the provider is
    believed about the domain, both have confirmed the address, no second account claims it, the account has no other
    person at the provider (an address that was handed on), and it has no power over the site.
    """
    claimants = list(
        User.objects.filter(Q(email__iexact=identity.mail) | Q(emailaddress__email=identity.mail)).distinct()[:2]
    )
    if not claimants:
        return None
    user = claimants[0]
    is_confirmed = EmailAddress.objects.filter(user=user, email=identity.mail, verified=True).exists()
    has_other = SocialAccount.objects.filter(user=user, provider=sso.issuer).exists()
    if len(claimants) > 1 or not is_confirmed or has_other or user.is_staff or user.is_superuser:
        raise SignOnError(
            "An account here has your mail address, and it can't be connected by the address alone. Sign in to it as "
            "usual, then connect it on its account page.",
            code="account_exists",
        )
    return user


def _new_user(sso: SingleSignOn, identity: Identity) -> User:
    if not sso.new_accounts:
        raise SignOnError("You have no account here. Ask an admin of your organization.", code="no_account")
    user = User(
        username=_free_name(identity.username),
        email=identity.mail,
        first_name=identity.first_name,
        last_name=identity.last_name,
    )
    user.set_unusable_password()
    user.save(force_insert=True)
    EmailAddress.objects.create(user=user, email=identity.mail, verified=True, primary=True)
    with coming_from(AuditSource.SSO):
        record("user_made", user, by=PROVIDER, after={"username": user.username, "email": user.email})
    return user


def _free_name(name: str) -> str:
    """Return `name`, or with the first number behind it under which nobody is known, whatever the case of letters."""
    taken = {
        found.lower() for found in User.objects.filter(username__istartswith=name).values_list("username", flat=True)
    }
    candidates = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate.lower() not in taken)


def _link(sso: SingleSignOn, identity: Identity, user: User, *, by: Actor) -> SocialAccount:
    link = SocialAccount.objects.create(provider=sso.issuer, uid=identity.subject, user=user)
    with coming_from(AuditSource.SSO):
        record("sso_connected", user, by=by, after={"issuer": sso.issuer, "subject": identity.subject})
    return link
