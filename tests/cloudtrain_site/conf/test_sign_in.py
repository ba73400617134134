"""The file's sections about signing in: what comes of them, and the sentence for each way to get them wrong."""

from __future__ import annotations

import io
import re

import pytest
from django.core.management import call_command

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.sign_in import ROLES, GroupRole, RemoteUser, SignIn
from cloudtrain_site.enterprise import get_enterprise_config
from jobs.roles import Role
from tests.configuration import WriteConfig

SSO = """
sso:
  issuer: https://id.example.org/realms/studio
  client_id: cloudtrain
  client_secret: ${SSO_SECRET}
  domains: [example.org]
"""
PROXY = """
remote_user:
  header: X-Remote-User
  proxies: [10.0.0.5, "fd00::/64"]
"""
SECRET = "not-a-real-secret"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSO_SECRET", SECRET)


def reading(write_config: WriteConfig, text: str) -> SignIn:
    write_config(text)
    return get_enterprise_config().sign_in


def test_without_its_sections_every_way_is_off(write_config: WriteConfig) -> None:
    settings = reading(write_config, "limits:\n  open_jobs: 3\n")
    assert settings == SignIn()
    assert settings.has_local_passwords


def test_the_roles_are_those_of_the_jobs() -> None:
    assert list(ROLES) == Role.values


def test_the_least_that_single_sign_on_needs(write_config: WriteConfig) -> None:
    sso = reading(write_config, SSO).sso
    assert sso is not None
    assert (sso.issuer, sso.client_id, sso.domains) == (
        "https://id.example.org/realms/studio",
        "cloudtrain",
        ("example.org",),
    )
    assert sso.client_secret.read() == SECRET
    assert (sso.new_accounts, sso.mail_is_confirmed, sso.local_passwords) == (True, False, True)


def test_groups_give_roles_whatever_signs_their_names_have(write_config: WriteConfig) -> None:
    groups = """  groups:
    /teams/vision leads: {organization: vision, role: lead}
    "CN=ML, OU=Grüße": {organization: vision, role: viewer}
"""
    sso = reading(write_config, SSO + groups).sso
    assert sso is not None
    assert sso.groups == {
        "/teams/vision leads": GroupRole("vision", "lead"),
        "CN=ML, OU=Grüße": GroupRole("vision", "viewer"),
    }


def test_local_passwords_can_be_switched_off(write_config: WriteConfig) -> None:
    assert not reading(write_config, SSO + "  local_passwords: off\n").has_local_passwords


def test_a_second_factor_can_be_required_of_everybody(write_config: WriteConfig) -> None:
    settings = reading(write_config, "second_factor:\n  required_of: everybody\n")
    assert settings.second_factor_required_of == "everybody"


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        ("10.0.0.5", True),
        ("10.0.0.6", False),
        ("fd00::17", True),
        ("fd01::17", False),
        # What a socket for both protocols calls an IPv4 peer.
        ("::ffff:10.0.0.5", True),
        ("::ffff:10.0.0.6", False),
        ("", False),
        ("unix:", False),
        ("010.0.0.5", False),
    ],
)
def test_only_the_named_proxies_are_trusted(write_config: WriteConfig, peer: str, is_trusted: bool) -> None:
    proxy = reading(write_config, PROXY).remote_user
    assert isinstance(proxy, RemoteUser)
    assert proxy.trusts(peer) is is_trusted


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SSO.replace("  issuer: https://id.example.org/realms/studio\n", ""), "`sso.issuer` is missing"),
        (SSO.replace("https://id", "http://id"), "must be the provider's issuer"),
        (SSO.replace("id.example", "bob@id.example"), "must be the provider's issuer"),
        (SSO.replace("/studio", "/studio?x=1"), "must be the provider's issuer"),
        (SSO.replace("${SSO_SECRET}", "in-clear"), "`sso.client_secret` is in plain text"),
        (SSO.replace("  client_secret: ${SSO_SECRET}\n", ""), "needs one of `client_secret`"),
        (SSO + "  client_secret_file: /run/secrets/sso\n", "keep one of them"),
        (SSO.replace("[example.org]", "[]"), "`sso.domains` is empty"),
        (SSO.replace("[example.org]", "[Example.org]"), "`sso.domains` is Example.org"),
        (SSO.replace("[example.org]", '["*"]'), '`sso.domains` is "*"'),
        (SSO.replace("  domains: [example.org]\n", ""), "`sso.domains` is missing"),
        (SSO + "  scopes: [profile, email]\n", "a list of scopes with `openid` among them"),
        (SSO + "  client: x\n", "did you mean `sso.client_id`?"),
        (SSO + "  groups:\n    a: {organization: vision, role: leed}\n", "did you mean `lead`?"),
        (SSO + "  groups:\n    a: {organization: vision}\n", "`sso.groups.a.role` is missing"),
        (SSO + "  timeout_seconds: 90\n", "from 1 to 30"),
        ("second_factor:\n  required_of: everyone\n", "one of `nobody`, `superusers`, `everybody`"),
        (PROXY.replace("X-Remote-User", "X_Remote_User"), "a header's name"),
        (PROXY.replace('[10.0.0.5, "fd00::/64"]', "[10.0.0.5/8]"), "a list of addresses or networks"),
        ("remote_user:\n  header: Remote-User\n", "`remote_user.proxies` is missing"),
    ],
)
def test_a_mistake_is_named_with_its_line(write_config: WriteConfig, text: str, sentence: str) -> None:
    path = write_config(text)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)) as caught:
        get_enterprise_config()
    assert re.match(rf"{re.escape(str(path))}, line \d+: ", str(caught.value))
    assert "in-clear" not in str(caught.value)


def test_show_config_tells_all_but_the_secret(write_config: WriteConfig) -> None:
    write_config(SSO + "  groups:\n    staff: {organization: vision, role: lead}\n" + PROXY)
    output = io.StringIO()
    call_command("show_config", stdout=output)
    text = output.getvalue()
    assert "https://id.example.org/realms/studio" in text
    assert re.search(r"sso\.groups\.staff +lead of vision", text)
    assert re.search(r'remote_user\.proxies +\["10.0.0.5/32", "fd00::/64"\]', text)
    assert SECRET not in text
