"""What the claims of a verified token mean here: who signs in, in which roles. Pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from cloudtrain_site.accounts.sso.errors import SignOnError
from cloudtrain_site.conf.sign_in import ROLES, SingleSignOn

#: What django-allauth stores of a subject.
_LONGEST_SUBJECT = 191
_LONGEST_USERNAME = 140
_NOT_IN_USERNAMES = re.compile(r"[^\w.@+-]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as the provider describes them. Only `subject` identifies; `username` is a wish for a new account."""

    subject: str
    #: In small letters, confirmed by the provider, of an allowed domain.
    mail: str
    username: str
    first_name: str = ""
    last_name: str = ""
    has_second_factor: bool = False


def identity_of(sso: SingleSignOn, claims: Mapping[str, Any]) -> Identity:
    """Return the person. Raises SignOnError for an address that is missing, not confirmed, or of another domain."""
    mail = _mail_of(sso, claims)
    wish = _text(claims, "preferred_username") or mail
    username = _NOT_IN_USERNAMES.sub("-", wish.partition("@")[0]).strip("-.")[:_LONGEST_USERNAME]
    return Identity(
        subject=subject_of(claims),
        mail=mail,
        username=username or "person",
        first_name=_text(claims, "given_name")[:150],
        last_name=_text(claims, "family_name")[:150],
        has_second_factor=_has_second_factor(sso, claims),
    )


def subject_of(claims: Mapping[str, Any]) -> str:
    """Return the subject, or its digest where it is longer than what is stored."""
    subject = str(claims["sub"])
    if len(subject) <= _LONGEST_SUBJECT:
        return subject
    return "sha256:" + hashlib.sha256(subject.encode()).hexdigest()


def roles_of(sso: SingleSignOn, claims: Mapping[str, Any]) -> dict[str, str | None]:
    """Return by organization the highest role that the groups give; None: in none of its groups.

    The organizations are all that the configuration names. Those that it doesn't name are nobody's business here.
    """
    groups = groups_of(sso, claims)
    roles: dict[str, str | None] = {one.organization: None for one in sso.groups.values()}
    for name, one in sso.groups.items():
        if name in groups:
            roles[one.organization] = max(roles[one.organization], one.role, key=_rank)
    return roles


def groups_of(sso: SingleSignOn, claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the groups that the token names; without the claim, or of another type, none."""
    value: Any = claims.get(sso.groups_claim)
    if value is None:
        value = claims
        for step in sso.groups_claim.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    items = [value] if isinstance(value, str) else value
    return frozenset(item for item in items if isinstance(item, str)) if isinstance(items, list) else frozenset()


def _rank(role: str | None) -> int:
    return -1 if role is None else ROLES.index(role)


def _mail_of(sso: SingleSignOn, claims: Mapping[str, Any]) -> str:
    mail = _text(claims, "email").lower()
    try:
        validate_email(mail)
    except ValidationError:
        raise SignOnError("The identity provider sent no mail address.", code="mail_missing") from None
    if not sso.mail_is_confirmed and claims.get("email_verified") not in (True, "true"):
        raise SignOnError(
            "The identity provider has not confirmed your mail address. Confirm it there, then try again.",
            code="mail_not_confirmed",
        )
    if mail.rpartition("@")[2] not in sso.domains:
        raise SignOnError("People with your mail address can't sign in here.", code="domain_not_allowed")
    return mail


def _has_second_factor(sso: SingleSignOn, claims: Mapping[str, Any]) -> bool:
    methods = claims.get("amr")
    used = {item for item in methods if isinstance(item, str)} if isinstance(methods, list) else set()
    return bool(used.intersection(sso.second_factor_amr)) or claims.get("acr") in sso.second_factor_acr


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value.strip() if isinstance(value, str) and value.isprintable() else ""
