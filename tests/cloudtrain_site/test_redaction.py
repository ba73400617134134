"""Secrets are masked, and little else is."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
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


def test_a_known_secret_is_masked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._KnownSecrets())
    register_secret('quo"ted-value')
    assert mask_text('before quo"ted-value after') == "before *** after"
    assert may_hold_secret(json.dumps('quo"ted-value'))


def test_the_environments_secrets_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._KnownSecrets())
    url = "postgres://bob:long%2Fpassword-1@host/db"
    register_secrets_of({"MY_API_KEY": "abcdefghijklmnop", "DATABASE_URL": url, "PATH": "/usr/local/bin:/usr/bin"})
    text = "abcdefghijklmnop long/password-1 /usr/local/bin:/usr/bin bob"
    assert mask_text(text) == "*** *** /usr/local/bin:/usr/bin bob"


def test_the_shells_working_folder_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._KnownSecrets())
    register_secrets_of({"PWD": "/srv/cloudtrain", "OLDPWD": "/srv/cloudtrain/var"})
    for text in ("/srv/cloudtrain/var/jobs/1/train.log", "PWD=/srv/cloudtrain OLDPWD=/srv"):
        assert mask_text(text) == text
    assert mask_secrets({"PWD": "/srv/cloudtrain"}) == {"PWD": "/srv/cloudtrain"}


@pytest.mark.parametrize("name", ["DB_PWD", "pwd", "LDAP_PWD", "Pwd"])
def test_a_password_called_pwd_is_a_secret_even_with_a_slash(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._KnownSecrets())
    register_secrets_of({name: "/a/secret/with/slashes"})
    assert mask_text("before /a/secret/with/slashes") == "before ***"
    assert mask_text(f"{name}=/a/b") == f"{name}=***"
    assert mask_secrets({name: "/a/b"}) == {name: "***"}


def test_what_is_called_pwd_and_no_path_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._KnownSecrets())
    register_secrets_of({"PWD": SECRET})
    assert mask_text(f"before {SECRET}") == "before ***"
    assert mask_text(f"PWD={SECRET}") == "PWD=***"


def test_a_short_value_is_not_taken_for_a_known_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", redaction._KnownSecrets())
    register_secret("train")
    assert mask_text("train it") == "train it"


def test_no_nesting_exhausts_the_stack() -> None:
    value: object = SECRET
    for _ in range(5000):
        value = [value]
    assert SECRET not in json.dumps(mask_secrets(value))


@pytest.mark.parametrize(
    "text", ["token=" * 20_000, "token" + " " * 200_000, "a.-" * 60_000 + "key=", '"key": "' * 20_000]
)
def test_a_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    started = time.perf_counter()
    mask_text(text)
    assert time.perf_counter() - started < 2


@settings(max_examples=40)
@given(st.text(max_size=200), st.sampled_from(["token", "api_key", "hf_token", "X-API-Key", "clientSecret"]))
def test_no_value_of_a_secret_survives(value: str, name: str) -> None:
    marked = f"MARK{value}"
    assert "MARK" not in repr(mask_secrets({"outer": [{name: marked}]}))


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.integers() | st.text("abc xyz"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
    )
)
def test_what_holds_no_secret_comes_back_equal(value: object) -> None:
    assert mask_secrets(value) == value
