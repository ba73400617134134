"""TOML and YAML, read as JSON has them."""

from __future__ import annotations

import json

import pytest

from jobs.configs.conversion import MAX_BYTES, MAX_DEPTH, ConversionError, Notation, notation_of, read_as
from jobs.configs.exact import read_exact, written

TOML = """
# a LoRA
"--model_family" = "flux"
learning_rate = 1e-4
guidance = 1.0
seed = 12345678901234567890
steps = 1_000
big = +1_0.5e+06
[[datasets]]
id = "cats"
"""
YAML = """
# a LoRA
--model_family: flux
learning_rate: 1e-4
guidance: 1.0
half: .5
seed: 12345678901234567890
is_on: true
nothing: ~
quoted: "1.0"
text: 2 cats
datasets:
  - id: cats
    crop: false
"""


def test_toml_keeps_its_numbers() -> None:
    assert json.loads(written(read_as(Notation.TOML, TOML)))["datasets"] == [{"id": "cats"}]
    assert [line.strip(" ,") for line in written(read_as(Notation.TOML, TOML)).splitlines()[1:7]] == [
        *('"--model_family": "flux"', '"learning_rate": 1e-4', '"guidance": 1.0', '"seed": 12345678901234567890'),
        *('"steps": 1000', '"big": 10.5e+06'),
    ]


def test_yaml_keeps_its_numbers() -> None:
    assert [line.strip(" ,") for line in written(read_as(Notation.YAML, YAML)).splitlines()[1:10]] == [
        *('"--model_family": "flux"', '"learning_rate": 1e-4', '"guidance": 1.0', '"half": 0.5'),
        *('"seed": 12345678901234567890', '"is_on": true', '"nothing": null', '"quoted": "1.0"', '"text": "2 cats"'),
    ]


def test_json_is_written_as_it_was_read() -> None:
    text = '{\n  "a": 1e-4,\n  "b": [\n    1.0,\n    12345678901234567890\n  ],\n  "c": {},\n  "d": []\n}'
    assert written(read_exact(text)) == text


@pytest.mark.parametrize(
    ("text", "notation"),
    [
        *(
            ('{"a": 1}', "json"),
            ('[{"id": "a"}]', "json"),
            ("[1]", "json"),
            ("[training]\nsteps = 1", "toml"),
            ("# x\n\na = 1", "toml"),
        ),
        *(("[[datasets]]", "toml"), ("a: 1", "yaml"), ("---\na: 1", "yaml"), ("- id: a", "yaml"), ("a.b = 1", "toml")),
    ],
)
def test_a_notation_is_known_by_its_first_line(text: str, notation: str) -> None:
    assert notation_of(text) == notation


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\n"


@pytest.mark.parametrize(
    ("notation", "text", "sentence"),
    [
        (Notation.TOML, "a = 1\na = 2\n", "This is not valid TOML: Cannot overwrite a value (at line 2,"),
        (Notation.TOML, "a = inf", "inf is not a number in JSON."),
        (Notation.TOML, "[x]\na = 2026-01-01", "x.a is a date or a time, which JSON doesn't have: put it in quotes."),
        (Notation.TOML, "a = 1e400", "It contains a number that is too large"),
        (Notation.TOML, f"a = {'9' * 5000}", "This is not valid TOML"),
        (Notation.TOML, "a = " + "[" * 5000, "It is nested too deeply."),
        (Notation.YAML, "a: 1\nb: 2\na: 3", "Line 3: a is already set above."),
        (Notation.YAML, BOMB, "Line 1: Anchors and aliases are not supported: write the value itself."),
        (
            Notation.YAML,
            "x: {<<: {a: 1}}",
            "Line 1: Anchors and merges are not supported: write the values themselves.",
        ),
        (Notation.YAML, "a: 1\nb: yes", "Line 2: yes means different values to different readers: put it in quotes."),
        (Notation.YAML, "ratio: 16:9", "Line 1: 16:9 means different values to different readers: put it in quotes."),
        (Notation.YAML, "mode: 0777", "Line 1: 0777 means different values to different readers: put it in quotes."),
        (Notation.YAML, "day: 2026-01-01", "Line 1: 2026-01-01 means different values"),
        (Notation.YAML, "a: .nan", "Line 1: .nan means different values"),
        (Notation.YAML, "a: !!python/name:os.system", "Line 1: The tag tag:yaml.org,2002:python/name:os.system"),
        (Notation.YAML, "a: 1\n---\nb: 2", "Line 2: A second document begins here, but a config has only one."),
        (Notation.YAML, "a: [1\n", "Line 2: did not find expected ',' or ']'"),
        (Notation.YAML, "[" * (MAX_DEPTH + 1), f"Line 1: This is nested more than {MAX_DEPTH} deep."),
        (Notation.YAML, f"a: {'9' * 5000}", "Line 1: This number has too many digits."),
        (Notation.YAML, "? [a]\n: 1", "Line 1: A name is expected here."),
        (Notation.YAML, "", "It is empty."),
        (Notation.YAML, "a: \x07", "This is not valid YAML"),
        (Notation.YAML, "a" * (MAX_BYTES + 1), "It is larger than 256 kB."),
        (Notation.JSON, "{", "This is not valid JSON"),
    ],
)
def test_what_can_not_be_read_for_sure_is_refused(notation: Notation, text: str, sentence: str) -> None:
    with pytest.raises(ConversionError) as refusal:
        read_as(notation, text)
    assert str(refusal.value).startswith(sentence)
