"""Secrets are masked, and little else is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain_site import redaction
from cloudtrain_site.redaction import (
    is_secret_name,
    mask_secrets,
    mask_text,
    may_hold_secret,
    register_secret,
    register_secrets_of,
)

pytestmark = pytest.mark.slow

SECRET = "s3cr3t-Value"


@pytest.mark.parametrize(
    "name",
    [
        *("token", "key", "secret", "password", "authorization", "Authorization", "api_key", "hf_token", "X-API-Key"),
        *("apiKey", "HFToken", "REPLICATE_API_TOKEN", "SECRET_KEY", "wandb_api_key", "aws_secret_access_key"),
        *("HTTP_AUTHORIZATION", "api_keys", "passwords", "apikey", "private-key", "db.password", "--hub_token"),
    ],
)
def test_a_secrets_name_is_known_in_every_case(name: str) -> None:
    assert is_secret_name(name)
    assert mask_secrets({name: SECRET}) == {name: "***"}


@pytest.mark.parametrize(
    "name",
    ["tokens_seen", "monkey", "keyboard", "tokenizer", "KeyError", "token_count", "keyword", "turkey", "secretary"],
)
def test_a_name_that_only_sounds_like_a_secret_is_left_alone(name: str) -> None:
    assert mask_secrets({name: "visible"}) == {name: "visible"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /login/emergency/planted:1x:planted", "GET /login/emergency/***"),
        ("<ASGIRequest: GET '/login/emergency/pl4nted'>", "<ASGIRequest: GET '/login/emergency/***'>"),
        ("GET /login/sso/callback?code=pl4nted&state=pl4nted", "GET /login/sso/callback?***"),
        ("Not Found: /account/email/Mw:1x:planted", "Not Found: /account/email/***"),
        ("Too Many Requests: /password/1/d3k2a1-" + 32 * "a", "Too Many Requests: /password/1/***"),
        ("GET /login/sso", "GET /login/sso"),
        ("GET /login/sso/callback", "GET /login/sso/callback"),
        ("GET /account/email/sent", "GET /account/email/sent"),
        ("/data/password/set-1/a-picture.png", "/data/password/set-1/a-picture.png"),
    ],
)
def test_what_lets_in_is_masked_in_our_own_addresses(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_nested_values_are_masked() -> None:
    value = {"job": [{"config": {"hub_token": SECRET, "steps": 3}}, ({"password": 1234},)]}
    assert mask_secrets(value) == {"job": [{"config": {"hub_token": "***", "steps": 3}}, ({"password": "***"},)]}


def test_everything_under_a_secrets_name_is_masked() -> None:
    assert mask_secrets({"secret": {"user": "bob", "value": SECRET}}) == {"secret": "***"}


def test_a_number_of_tokens_is_no_secret() -> None:
    assert mask_secrets({"max_tokens": 4096, "tokens": "512"}) == {"max_tokens": 4096, "tokens": "512"}


@pytest.mark.parametrize("value", [None, True, False, "", "None"])
def test_that_there_is_no_secret_may_be_seen(value: object) -> None:
    assert mask_secrets({"hub_token": value}) == {"hub_token": value}


def test_what_was_given_is_not_changed() -> None:
    value = {"token": SECRET}
    mask_secrets(value)
    assert value == {"token": SECRET}


def test_a_header_pair_and_an_option_with_its_value_are_masked() -> None:
    assert mask_secrets([("X-API-Key", SECRET)]) == [("X-API-Key", "***")]
    assert mask_secrets(["run", "--hub_token", SECRET, "--steps", "3"]) == ["run", "--hub_token", "***", "--steps", "3"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"Bearer {SECRET}", "Bearer ***"),
        (f"Authorization: Token {SECRET}", "Authorization: ***"),
        (f"GET https://host/v1?token={SECRET}&limit=3", "GET https://host/v1?token=***&limit=3"),
        (f"GET /x?limit=3&api_key={SECRET} HTTP/1.1", "GET /x?limit=3&api_key=*** HTTP/1.1"),
        (f"https://host/a.zip?sv=2024&sig={SECRET}%3D&se=1", "https://host/a.zip?sv=2024&sig=***&se=1"),
        (f"GET https://host/a?X-Amz-Signature={SECRET} 403", "GET https://host/a?X-Amz-Signature=*** 403"),
        (f"URL('https://host/a?Expires=1&Signature={SECRET}')", "URL('https://host/a?Expires=1&Signature=***')"),
        (f"postgres://bob:{SECRET}@host/db", "postgres://bob:***@host/db"),
        (f"postgres://bob:{SECRET}@more@host/db", "postgres://bob:***@host/db"),
        ("password: 12345678", "password: ***"),
        ("api_keys: 12345678 tokens: 512", "api_keys: 12345678 tokens: 512"),
        ("hooks.slack.com/services/T0/B0/abcDEF123", "hooks.slack.com/services/T0/B0/***"),
        (f"redis://:{SECRET}@host:6379/0", "redis://:***@host:6379/0"),
        (f"{{'api_key': '{SECRET} x', 'steps': 3}}", "{'api_key': '***', 'steps': 3}"),
        (f'{{"password": "{SECRET}", "steps": 3}}', '{"password": "***", "steps": 3}'),
        (rf"{{\"password\": \"{SECRET}\"}}", r"{\"password\": \"***\"}"),
        (f"X-API-Key: {SECRET}", "X-API-Key: ***"),
        (f"train --hub_token {SECRET} --steps 3", "train --hub_token *** --steps 3"),
        (f"login(password='{SECRET}', user='bob')", "login(password='***', user='bob')"),
        (f"KeyError: 'api_key={SECRET}'", "KeyError: 'api_key=***'"),
        ("401 for r8_AbCdEf0123456789", "401 for r8_***"),
        ("401 for hf_AbCdEf0123456789", "401 for hf_***"),
        ("401 for ct_0123456789abcdef", "401 for ct_***"),
        ("401 for whsec_C2FVsBQIhrscChlQIMV", "401 for whsec_***"),
    ],
)
def test_a_secret_inside_a_text_is_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        *("Unknown key: interval_seconds", "KeyError: 'steps'", "from huggingface import hf_hub_download, hf_transfer"),
        *(
            "project_123456789 has 3 tokens",
            "max_tokens=4096",
            "https://host/v1/predictions?limit=3",
            "a token expired",
            "no signature=webhook-signature was sent",
            "https://host/x?design=3&sigma=2",
        ),
    ],
)
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known_secrets", redaction._KnownSecrets())


KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+abc/def=\nGHI\n"


@pytest.mark.parametrize("end", ["-----END RSA PRIVATE KEY-----\nafter", ""])
def test_a_private_key_is_masked_to_its_end(end: str) -> None:
    assert mask_text(f"before\n{KEY}{end}") == f"before\n-----BEGIN RSA PRIVATE KEY-----***{end}"


def test_a_secret_in_a_key_is_masked() -> None:
    assert mask_secrets({f"Bearer {SECRET}": 1, 7: "seven"}) == {"Bearer ***": 1, 7: "seven"}


def test_a_secret_that_is_a_number_is_masked_and_a_number_of_them_is_not() -> None:
    assert mask_secrets({"password": 1234, "api_keys": 3, "tokens": 1.5}) == {
        "password": "***",
        "api_keys": 3,
        "tokens": 1.5,
    }
    assert mask_secrets({"api_keys": "a1b2c3", "tokens": "512"}) == {"api_keys": "***", "tokens": "512"}


def test_a_pair_is_masked_by_its_first_and_a_longer_list_by_its_options_alone() -> None:
    assert mask_secrets(["password", SECRET]) == ["password", "***"]
    assert mask_secrets(["password", SECRET, "x"]) == ["password", SECRET, "x"]
    assert mask_secrets(["--password", SECRET, "x"]) == ["--password", "***", "x"]
    assert mask_secrets(["--password=a", "visible", "x"]) == ["--password=***", "visible", "x"]
    assert mask_secrets(["--steps", "3", "x"]) == ["--steps", "3", "x"]
    assert mask_secrets(["--hub_token", None, "x"]) == ["--hub_token", None, "x"]


@pytest.mark.usefixtures("nothing_known")
def test_a_known_secret_is_masked_wherever_it_stands() -> None:
    register_secret('quo"ted-value')
    assert mask_text('before quo"ted-value after') == "before *** after"
    assert mask_text(json.dumps({"words": 'a quo"ted-value'})) == '{"words": "a ***"}'
    assert may_hold_secret(json.dumps('quo"ted-value'))
    assert not may_hold_secret("another value")


@pytest.mark.usefixtures("nothing_known")
def test_of_two_known_secrets_that_begin_alike_the_longer_is_masked_whole() -> None:
    for end in range(20):
        register_secret(f"abcdefgh{'-and-more' * (19 - end)}")
        register_secret(f"12345678{'-and-more' * end}")
    for end in range(20):
        assert mask_text(f"x abcdefgh{'-and-more' * end} y 12345678{'-and-more' * end} z") == "x *** y *** z"


@pytest.mark.usefixtures("nothing_known")
def test_a_known_secret_has_eight_characters_and_a_found_one_twelve() -> None:
    register_secret("1234567")
    register_secret("abcdefgh")
    register_secrets_of({"MY_TOKEN": "elevenchars", "OTHER_TOKEN": "twelve-chars"})
    assert mask_text("1234567 abcdefgh elevenchars twelve-chars") == "1234567 *** elevenchars ***"


@pytest.mark.usefixtures("nothing_known")
def test_a_password_in_an_address_is_known_as_it_is_written_and_as_it_is_meant() -> None:
    register_secrets_of({"DATABASE_URL": "postgres://bob:long%2Fp@ssword-1@host/db"})
    assert mask_text("long%2Fp@ssword-1 or long/p@ssword-1") == "*** or ***"


@pytest.mark.usefixtures("nothing_known")
def test_the_environments_secrets_are_known() -> None:
    url = "postgres://bob:long%2Fpassword-1@host/db"
    register_secrets_of({"MY_API_KEY": "abcdefghijklmnop", "DATABASE_URL": url, "PATH": "/usr/local/bin:/usr/bin"})
    text = "abcdefghijklmnop long/password-1 /usr/local/bin:/usr/bin bob"
    assert mask_text(text) == "*** *** /usr/local/bin:/usr/bin bob"


@pytest.mark.usefixtures("nothing_known")
def test_the_shells_working_folder_is_no_secret() -> None:
    register_secrets_of({"PWD": "/srv/cloudtrain", "OLDPWD": "/srv/cloudtrain/var"})
    for text in ("/srv/cloudtrain/var/jobs/1/train.log", "PWD=/srv/cloudtrain OLDPWD=/srv"):
        assert mask_text(text) == text
    assert mask_secrets({"PWD": "/srv/cloudtrain"}) == {"PWD": "/srv/cloudtrain"}


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("name", ["DB_PWD", "pwd", "LDAP_PWD", "Pwd"])
def test_a_password_called_pwd_is_a_secret_even_with_a_slash(name: str) -> None:
    register_secrets_of({name: "/a/secret/with/slashes"})
    assert mask_text("before /a/secret/with/slashes") == "before ***"
    assert mask_text(f"{name}=/a/b") == f"{name}=***"
    assert mask_secrets({name: "/a/b"}) == {name: "***"}


@pytest.mark.usefixtures("nothing_known")
def test_what_is_called_pwd_and_no_path_is_a_secret() -> None:
    register_secrets_of({"PWD": SECRET})
    assert mask_text(f"before {SECRET}") == "before ***"
    assert mask_text(f"PWD={SECRET}") == "PWD=***"


@pytest.mark.usefixtures("nothing_known")
def test_a_short_value_is_not_taken_for_a_known_secret() -> None:
    register_secret("train")
    assert mask_text("train it") == "train it"


def test_no_nesting_exhausts_the_stack() -> None:
    lists: object = SECRET
    mappings: object = SECRET
    for _ in range(5000):
        lists, mappings = [lists], {"deeper": mappings}
    assert SECRET not in json.dumps(mask_secrets(lists))
    assert SECRET not in json.dumps(mask_secrets(mappings))


@pytest.mark.parametrize(("depth", "shown"), [(40, "visible"), (41, "***")])
def test_forty_levels_are_shown_and_deeper_ones_are_not(depth: int, shown: str) -> None:
    for wrap in (lambda inner: [inner], lambda inner: {"deeper": inner}):
        value: Any = "visible"
        expected: Any = shown
        for level in range(depth):
            value = wrap(value)
            expected = wrap(expected) if shown == "visible" or level else expected
        assert mask_secrets(value) == expected


@pytest.mark.parametrize(
    ("piece", "times", "end"),
    [("token=", 20_000, ""), (" ", 200_000, "token"), ("a.-", 60_000, "key="), ('"key": "', 20_000, "")],
)
def test_a_hostile_text_costs_no_more_than_its_length(piece: str, times: int, end: str) -> None:
    """Four times the text takes about four times as long, not sixteen times. In CPU time: other programs cost none."""

    def seconds(count: int) -> float:
        text = f"token{piece * count}{end}"
        runs = []
        for _ in range(3):
            started = time.process_time()
            mask_text(text)
            runs.append(time.process_time() - started)
        return min(runs)

    assert seconds(times) < 10 * seconds(times // 4) + 0.01


@given(st.text(max_size=200), st.sampled_from(["token", "api_key", "hf_token", "X-API-Key", "clientSecret"]))
def test_no_value_of_a_secret_survives(value: str, name: str) -> None:
    marked = f"MARK{value}"
    assert "MARK" not in repr(mask_secrets({"outer": [{name: marked}]}))


@given(
    st.recursive(
        st.none() | st.integers() | st.text("abc xyz"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
    )
)
def test_what_holds_no_secret_comes_back_equal(value: object) -> None:
    assert mask_secrets(value) == value


def test_of_a_source_that_renews_its_secret_the_last_two_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known_secrets", redaction._KnownSecrets())
    register_secret("of-nobody-else")
    for number in range(100):
        for _ in range(2):
            register_secret(f"renewed-number-{number}", source="/run/renewed")
    shown = [mask_text(f"It is renewed-number-{number}.") for number in (97, 98, 99)]
    assert shown == ["It is renewed-number-97.", f"It is {redaction.MASK}.", f"It is {redaction.MASK}."]
    assert mask_text("It is of-nobody-else.") == f"It is {redaction.MASK}."
    assert len(redaction._known_secrets.values) == 3
