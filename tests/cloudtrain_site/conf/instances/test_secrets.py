"""Secrets of the declared providers come from a variable or a file, and are shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.providers import Secret
from cloudtrain_site.redaction import MASK, mask_text
from tests.cloudtrain_site.conf.instances.declared import RAY, REPLICATE, SECRET, read, refusal
from tests.configuration import WriteConfig


def test_the_variables_that_hold_one_are_known(write_config: WriteConfig) -> None:
    folder = RAY.replace("/mnt/shared/cloudtrain", "${FOLDER}")
    with pytest.raises(ConfigurationError, match="FOLDER, which is not set"):
        read(write_config, folder)
    assert read(write_config, RAY).secret_variables == {"RAY_STUDIO_TOKEN"}


def test_one_is_in_no_representation_and_is_masked_in_every_text(write_config: WriteConfig) -> None:
    config = read(write_config, RAY)
    assert SECRET not in repr(config)
    assert mask_text(f"Ray says {SECRET}!") == f"Ray says {MASK}!"


def test_a_file_is_read_at_each_use_and_masked_from_then_on(write_config: WriteConfig, tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = read(write_config, REPLICATE.replace("/run/secrets/replicate", str(file))).instances["replicate-lab"].token
    for value in ("first-of-the-file", "second-of-the-file"):
        file.write_text(f"{value}\n")
        assert token.read() == value
        assert mask_text(f"It is {value}.") == f"It is {MASK}."


@pytest.mark.parametrize("content", [b"first-line\nsecond-line", b"two words", b"\xff\xfe\x00", "schlüssel".encode()])
def test_a_file_that_holds_no_token_is_named_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Secret(file=tmp_path / "token").read()
    sentence = f"{tmp_path}/token does not contain a token (one word of letters, digits and signs)."
    assert str(caught.value) == sentence


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{tmp_path}/token can't be read: No such file"):
        Secret(file=tmp_path / "token").read()


@pytest.mark.parametrize(
    "written",
    [
        *("r8_abcdefgh12345678", '"plain-words"', "x${RAY_STUDIO_TOKEN}", "${RAY_STUDIO_TOKEN}${RAY_STUDIO_TOKEN}"),
        *("$${RAY_STUDIO_TOKEN}", "abc${defg", "12345678", "a@b"),
    ],
)
def test_one_in_clear_is_refused_and_not_repeated(write_config: WriteConfig, written: str) -> None:
    sentence = refusal(write_config, RAY.replace("${RAY_STUDIO_TOKEN}", written))
    assert sentence == (
        "line 6: `providers.ray-studio.token` is in plain text, but it must be ${NAME}, where the environment "
        "variable NAME has the secret, one word; or name its file as `token_file`."
    )


@pytest.mark.parametrize("value", [" ", "two words", "two\nlines", "schlüssel"])
def test_a_variable_that_holds_no_token_is_refused(
    write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("NOTHING", value)
    sentence = refusal(write_config, RAY.replace("RAY_STUDIO_TOKEN", "NOTHING"))
    assert sentence.startswith("line 6: `providers.ray-studio.token` is ${NOTHING}, but it must be ${NAME}, where")


@pytest.mark.parametrize(
    "address",
    ["http://bob:hunter2@ray:8265", "bob:hunter2@ray:8265", "http://bob:hun/ter2@ray:8265", "ray token=hunter2"],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(write_config: WriteConfig, address: str) -> None:
    sentence = refusal(write_config, RAY.replace("http://10.0.0.5:8265/", address))
    assert "ter2" not in sentence
    assert "without a path, user or password" in sentence
