"""A list of options that is made from the source of a release of SimpleTuner."""

from __future__ import annotations

import json
from importlib.resources import files
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from jobs.configs.list_making import options_of
from jobs.configs.option_lists import read_list, simpletuners

SOURCE = """
import torch  # is not there, and nothing of this runs
raise SystemExit("it ran")

def register(registry):
    registry._add_field(ConfigField(
        name="rate", arg_name="--learning-rate", field_type=FieldType.NUMBER, default_value=1e-4, help_text="x",
        validation_rules=[ValidationRule(ValidationRuleType.MIN, value=0), ValidationRule(ValidationRuleType.MAX, 1)],
    ))
    registry._add_field(ConfigField(
        name="model_type", arg_name="--model_type", field_type=FieldType.SELECT, default_value="",
        choices=[{"value": "full", "label": "Full"}, {"value": "lora", "label": "LoRA"}], aliases=["--kind"],
        validation_rules=[ValidationRule(ValidationRuleType.REQUIRED)],
    ))
    registry._add_field(ConfigField(name="unreadable", arg_name=made_up(), field_type=FieldType.CHECKBOX))
    registry._add_field(ConfigField(name="free", arg_name="--free", field_type=FieldType.SELECT, choices=made_up()))
    for name, label, least in [("stage1_steps", "One", 1), ("stage2_steps", "Two", 2)]:
        registry._add_field(ConfigField(
            name=name, arg_name=f"--{name}", ui_label=label, field_type=FieldType.NUMBER,
            validation_rules=[ValidationRule(ValidationRuleType.MIN, value=least)],
        ))
    for name in ("use_svd", "use_matmul"):
        registry._add_field(ConfigField(name=name, arg_name="--" + name, field_type=FieldType.CHECKBOX))
"""
AGAIN = """
ConfigField(name="rate", arg_name="--learning_rate", field_type=FieldType.NUMBER,
            validation_rules=[ValidationRule(rule_type=ValidationRuleType.MIN, value=-1)])
"""
LIST = {
    "free": {"type": "choice"},
    "kind": {"type": "choice", "alias_of": "model_type"},
    "learning_rate": {"type": "number", "default": 1e-4, "minimum": -1},
    "model_type": {"type": "choice", "choices": ["full", "lora"]},
    "stage1_steps": {"type": "number", "minimum": 1},
    "stage2_steps": {"type": "number", "minimum": 2},
    "unreadable": {"type": "boolean"},
    "use_matmul": {"type": "boolean"},
    "use_svd": {"type": "boolean"},
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "SimpleTuner" / "fields"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(SOURCE)
    (folder / "b.py").write_text(AGAIN)
    (folder / "other.py").write_text("this is no Python, and has no field")
    return folder.parent


def test_every_field_that_can_be_read_is_an_option(source: Path) -> None:
    assert options_of(source) == LIST


def test_the_command_writes_a_list_that_the_site_takes_and_its_version_beside_it(source: Path, tmp_path: Path) -> None:
    output, printed = tmp_path / "list.json", StringIO()
    call_command("make_option_list", str(source), "4.10.1", str(output), stdout=printed)
    assert "9 options of SimpleTuner 4.10.1" in printed.getvalue()
    assert (tmp_path / "list.version").read_text() == "4.10.1\n"
    assert read_list("simpletuner", output).options == LIST
    assert len(output.read_text().splitlines()) == len(LIST) + 2  # one option a line


def test_what_is_no_source_of_it_is_refused_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "list.json"
    (source / "broken.py").write_text("ConfigField(")
    for folder, sentence in (
        (source, "can't be read"),
        (tmp_path / "no", "is not a folder"),
        (tmp_path / "a", "No option"),
    ):
        (tmp_path / "a").mkdir(exist_ok=True)
        with pytest.raises(CommandError, match=sentence):
            call_command("make_option_list", str(folder), "1", str(output))
    assert not output.exists()


def test_the_list_that_comes_with_the_site_has_its_version_beside_it() -> None:
    version = files("jobs.configs").joinpath("simpletuner-options.version").read_text().strip()
    guide = (Path(__file__).parents[3] / "docs" / "known-keys.md").read_text()
    assert version in guide
    assert f"has {len(simpletuners().options)} options" in guide
    text = files("jobs.configs").joinpath("simpletuner-options.json").read_text()
    names = list(json.loads(text))
    assert names == sorted(names)
