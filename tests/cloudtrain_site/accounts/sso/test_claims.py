"""What a provider's claims mean: who signs in, and in which roles."""

from __future__ import annotations

from typing import Any

import pytest

from cloudtrain_site.accounts.sso.claims import groups_of, identity_of, roles_of
from cloudtrain_site.accounts.sso.errors import SignOnError
from cloudtrain_site.conf.providers import Secret
from cloudtrain_site.conf.sign_in import GroupRole, SingleSignOn

GROUPS = {
    "vision-leads": GroupRole("vision", "lead"),
    "vision-all": GroupRole("vision", "viewer"),
    "audio-admins": GroupRole("audio", "admin"),
}


def provider(**settings: Any) -> SingleSignOn:
    return SingleSignOn(
        issuer="https://id.example.org",
        client_id="cloudtrain",
        client_secret=Secret("not-a-real-secret"),
        domains=("example.org", "lab.example.org"),
        **settings,
    )


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "17", "email": "Vera@Example.org", "email_verified": True} | changes


def test_a_confirmed_address_of_an_allowed_domain_signs_in() -> None:
    identity = identity_of(provider(), claims(preferred_username="vera", given_name="Vera"))
    assert (identity.subject, identity.mail, identity.username) == ("17", "vera@example.org", "vera")
    assert identity.first_name == "Vera"
    assert not identity.has_second_factor


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"email": None}, "mail_missing"),
        ({"email": ""}, "mail_missing"),
        ({"email": ["vera@example.org"]}, "mail_missing"),
        ({"email": "vera@example.org\nBcc: all@example.org"}, "mail_missing"),
        ({"email": "vera"}, "mail_missing"),
        ({"email_verified": False}, "mail_not_confirmed"),
        ({"email_verified": None}, "mail_not_confirmed"),
        ({"email_verified": "false"}, "mail_not_confirmed"),
        ({"email_verified": "yes"}, "mail_not_confirmed"),
        ({"email": "vera@example.com"}, "domain_not_allowed"),
        ({"email": "vera@sub.example.org"}, "domain_not_allowed"),
        ({"email": "vera@example.org.evil.test"}, "domain_not_allowed"),
        ({"email": "vera@evilexample.org"}, "domain_not_allowed"),
        ({"email": '"vera@example.org"@evil.test'}, "domain_not_allowed"),
    ],
)
def test_other_addresses_do_not(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(SignOnError) as refusal:
        identity_of(provider(), claims(**changes))
    assert refusal.value.code == code


def test_a_provider_that_confirms_every_address_need_not_say_so() -> None:
    assert identity_of(provider(mail_is_confirmed=True), claims(email_verified=None)).mail == "vera@example.org"


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("vera@example.org", "vera"),
        ("Vera Weiß", "Vera-Weiß"),
        ("<script>", "script"),
        ("", "vera"),
        (17, "vera"),
        ("...", "person"),
        ("a" * 500, "a" * 140),
    ],
)
def test_a_new_name_is_one_that_an_account_may_have(wish: Any, name: str) -> None:
    assert identity_of(provider(), claims(preferred_username=wish)).username == name


def test_names_are_cut_to_what_is_stored_and_kept_only_when_they_can_be_shown() -> None:
    identity = identity_of(provider(), claims(given_name="V" * 151, family_name="G" * 151))
    assert (len(identity.first_name), len(identity.last_name)) == (150, 150)
    identity = identity_of(provider(), claims(given_name=" Vera ", family_name="Vo\x00gel", email=" vera@example.org "))
    assert (identity.first_name, identity.last_name, identity.mail) == ("Vera", "", "vera@example.org")


def test_methods_that_are_no_texts_are_no_second_factor() -> None:
    sso = provider(second_factor_amr=("mfa",))
    assert not identity_of(sso, claims(amr=[["mfa"], {"mfa": True}, None])).has_second_factor
    assert identity_of(sso, claims(amr=[["pwd"], "mfa"])).has_second_factor


def test_a_subject_that_is_too_long_to_store_is_its_digest() -> None:
    long, other = "x" * 192, "x" * 191 + "y"
    assert identity_of(provider(), claims(sub="x" * 191)).subject == "x" * 191
    subjects = {identity_of(provider(), claims(sub=sub)).subject for sub in (long, other)}
    assert len(subjects) == 2
    assert all(len(subject) < 191 for subject in subjects)


def test_the_highest_role_of_the_groups_counts() -> None:
    roles = roles_of(provider(groups=GROUPS), claims(groups=["vision-all", "vision-leads", "unknown"]))
    assert roles == {"vision": "lead", "audio": None}


@pytest.mark.parametrize("value", [None, [], {}, 17, [17, None], {"vision-leads": True}])
def test_without_groups_there_is_no_role(value: Any) -> None:
    assert roles_of(provider(groups=GROUPS), claims(groups=value)) == {"vision": None, "audio": None}


def test_an_organization_that_no_group_names_is_not_touched() -> None:
    assert roles_of(provider(), claims(groups=["vision-leads"])) == {}


def test_groups_may_lie_in_a_nested_claim() -> None:
    nested = provider(groups=GROUPS, groups_claim="realm_access.roles")
    assert groups_of(nested, claims(realm_access={"roles": ["a", "b"]})) == {"a", "b"}
    assert groups_of(nested, claims(realm_access="roles")) == frozenset()
    # A claim whose own name has dots, as namespaced claims have.
    assert groups_of(nested, {"realm_access.roles": ["c"]}) == {"c"}


def test_one_group_may_be_a_text_alone() -> None:
    assert groups_of(provider(), claims(groups="vision-leads")) == {"vision-leads"}


@pytest.mark.parametrize(
    ("settings", "extra", "has"),
    [
        ({}, {"amr": ["mfa"]}, False),
        ({"second_factor_amr": ("mfa", "hwk")}, {"amr": ["pwd", "hwk"]}, True),
        ({"second_factor_amr": ("mfa",)}, {"amr": ["pwd"]}, False),
        ({"second_factor_amr": ("mfa",)}, {"amr": "mfa"}, False),
        ({"second_factor_acr": ("gold",)}, {"acr": "gold"}, True),
        ({"second_factor_acr": ("gold",)}, {"acr": "silver"}, False),
        ({"second_factor_acr": ("gold",)}, {}, False),
    ],
)
def test_the_provider_is_believed_about_a_second_factor_only_as_configured(
    settings: dict[str, Any], extra: dict[str, Any], has: bool
) -> None:
    assert identity_of(provider(**settings), claims(**extra)).has_second_factor is has
