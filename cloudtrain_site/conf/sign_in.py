"""The part of the configuration file that says how people sign in: second factor, single sign-on, a proxy's header."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from cloudtrain_site.conf.instances import Refuse
from cloudtrain_site.conf.providers import Secret
from cloudtrain_site.conf.yaml_kinds import (
    absolute_path,
    boolean,
    list_of_texts,
    secret,
    short_text,
    text_like,
    whole_number,
)
from cloudtrain_site.conf.yaml_schema import Kind, Named, ParsedValue, Schema, Text, one_of

SINGLE_SIGN_ON = "sso"
SECOND_FACTOR = "second_factor"
REMOTE_USER = "remote_user"
#: The roles of jobs/roles.py, which this room doesn't import, lowest first. A test compares them.
ROLES = ("viewer", "researcher", "lead", "admin")
NOBODY, SUPERUSERS, EVERYBODY = "nobody", "superusers", "everybody"
#: The longest name of a provider that django-allauth stores beside an account.
_LONGEST_ISSUER = 200

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class GroupRole:
    """What a group of the identity provider gives here."""

    organization: str
    role: str


@dataclass(frozen=True)
class SingleSignOn:
    """One OpenID provider."""

    issuer: str
    client_id: str
    client_secret: Secret
    #: The domains of mail addresses, in small letters, that may sign in. The provider is believed about no other.
    domains: tuple[str, ...]
    label: str = "Sign in with single sign-on"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    #: A provider that confirms every address without a word about it.
    mail_is_confirmed: bool = False
    #: Whether a first sign-in makes an account.
    new_accounts: bool = True
    #: The claim that lists groups; dots lead into nested claims.
    groups_claim: str = "groups"
    groups: Mapping[str, GroupRole] = field(default_factory=dict)
    #: Values of `amr` and `acr` that count as a second factor.
    second_factor_amr: tuple[str, ...] = ()
    second_factor_acr: tuple[str, ...] = ()
    local_passwords: bool = True
    timeout_seconds: int = 5


@dataclass(frozen=True)
class RemoteUser:
    """A header in which proxies say who sends a request."""

    header: str
    proxies: tuple[Network, ...]
    new_accounts: bool = False
    #: Whether it may name superusers and staff.
    superusers: bool = False
    #: Whether the proxy has asked for a second factor.
    second_factor: bool = False

    def trusts(self, address: str) -> bool:
        """Whether the peer at `address` is one of the proxies."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self.proxies)


@dataclass(frozen=True)
class SignIn:
    """How people sign in. None: that way is off, and nothing of it answers."""

    sso: SingleSignOn | None = None
    remote_user: RemoteUser | None = None
    second_factor_required_of: str = NOBODY

    @property
    def has_local_passwords(self) -> bool:
        return self.sso is None or self.sso.local_passwords


def is_safe_endpoint(address: str) -> bool:
    """Whether nobody between reads what is sent there: HTTPS, or HTTP to this very machine."""
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    is_here = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return has_host and (parts.scheme == "https" or is_here) and address.isprintable() and " " not in address


def _issuer() -> Kind:
    def read(text: Text) -> str:
        parts = urlsplit(text.value)
        if not is_safe_endpoint(text.value) or parts.query or parts.fragment or len(text.value) > _LONGEST_ISSUER:
            raise ValueError
        return text.value

    allowed = "the provider's issuer as its tokens have it: https:// with a host and optionally a path"
    return Kind(allowed, read, is_required=True)


def _all_match(pattern: str, *, unique: bool = True) -> Any:
    shape = re.compile(pattern)

    def accept(items: list[str]) -> bool:
        return (
            bool(items) and all(shape.fullmatch(item) for item in items) and (not unique or len({*items}) == len(items))
        )

    return accept


def _scopes() -> Kind:
    matches = _all_match(r"[!#-\[\]-~]{1,200}")
    return list_of_texts(
        "a list of scopes with `openid` among them", lambda items: "openid" in items and matches(items)
    )


def _networks() -> Kind:
    def read(items: list[Text]) -> tuple[Network, ...]:
        if not items:
            raise ValueError
        return tuple(ipaddress.ip_network(item.value) for item in items)

    return Kind("a list of addresses or networks such as 10.0.0.5 or 10.0.0.0/24", read, is_list=True, is_required=True)


_DOMAIN = r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_VALUES = list_of_texts("a list of the provider's values", _all_match(r"[!-~]{1,200}"))

_SECTIONS: Mapping[str, Mapping[str, Kind | Named]] = {
    SECOND_FACTOR: {"required_of": one_of((NOBODY, SUPERUSERS, EVERYBODY))},
    SINGLE_SIGN_ON: {
        "issuer": _issuer(),
        "client_id": text_like(r"[!-~]{1,191}", "the client's id at the provider, one word", is_required=True),
        "client_secret": secret("client_secret_file"),
        "client_secret_file": absolute_path("a file with the client's secret"),
        "domains": list_of_texts(
            "a list of the domains of mail addresses, in small letters", _all_match(_DOMAIN), is_required=True
        ),
        "label": short_text(60),
        "scopes": _scopes(),
        "mail_is_confirmed": boolean(),
        "new_accounts": boolean(),
        "groups_claim": text_like(r"[!-~]{1,200}", "the name of a claim"),
        "groups": Named(
            "names of the provider's groups, of printable characters",
            re.compile(r"\S(?:[^\x00-\x1f\x7f]{0,253}\S)?"),
            {
                "organization": text_like(r"[A-Za-z0-9_-]{1,100}", "the name of an organization", is_required=True),
                "role": one_of(ROLES, is_required=True),
            },
        ),
        "second_factor_amr": _VALUES,
        "second_factor_acr": _VALUES,
        "local_passwords": boolean(),
        "timeout_seconds": whole_number(1, 30, " of seconds"),
    },
    REMOTE_USER: {
        "header": text_like(
            r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*",
            "a header's name, such as Remote-User: letters, digits and dashes",
            is_required=True,
        ),
        "proxies": _networks(),
        "new_accounts": boolean(),
        "superusers": boolean(),
        "second_factor": boolean(),
    },
}
SCHEMA: Schema = _SECTIONS


def sign_in_of(values: Mapping[str, ParsedValue], refuse: Refuse) -> SignIn:
    """Return the settings among the file's `values` by dotted key. Raises ConfigurationError by `refuse`."""
    proxy = _section(REMOTE_USER, values)
    return SignIn(
        sso=_single_sign_on(values, refuse),
        remote_user=RemoteUser(**proxy) if proxy else None,
        second_factor_required_of=_section(SECOND_FACTOR, values).get("required_of", NOBODY),
    )


def file_keys() -> list[str]:
    """Return the dotted keys that the file may have here, without the names of groups."""
    return [
        f"{section}.{key}"
        for section, kinds in _SECTIONS.items()
        for key, kind in kinds.items()
        if isinstance(kind, Kind)
    ]


def value_of(settings: SignIn, key: str) -> Any:
    """Return the value in force of a dotted key of the file; None when its section is missing."""
    section, _, name = key.partition(".")
    if section == SECOND_FACTOR:
        return settings.second_factor_required_of
    values = settings.sso if section == SINGLE_SIGN_ON else settings.remote_user
    value = getattr(values, name.removesuffix("_file"), None)
    return tuple(map(str, value)) if name == "proxies" and value else value


def _section(name: str, values: Mapping[str, ParsedValue]) -> dict[str, Any]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): item.value for key, item in values.items() if key.startswith(prefix)}


def _single_sign_on(values: Mapping[str, ParsedValue], refuse: Refuse) -> SingleSignOn | None:
    keys = _section(SINGLE_SIGN_ON, values)
    if not keys:
        return None
    text, file = keys.pop("client_secret", ""), keys.pop("client_secret_file", None)
    if text and file:
        line = values[f"{SINGLE_SIGN_ON}.client_secret_file"].line
        refuse(line, "`sso` has `client_secret` and `client_secret_file`; keep one of them")
    if not text and not file:
        line = values[f"{SINGLE_SIGN_ON}.client_id"].line
        refuse(line, "`sso` needs one of `client_secret`, `client_secret_file`")
    groups = {
        name: GroupRole(**{key: inner.value for key, inner in item.value.items()})
        for name, item in keys.pop("groups", {}).items()
    }
    return SingleSignOn(client_secret=Secret(text, file), groups=groups, **keys)
