"""What looks like a mistake in a config, and what doesn't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client

from jobs.configs.known_keys import MAX_FINDINGS, findings_in
from jobs.configs.option_lists import OptionListError, simpletuners
from jobs.models import Organization

EXAMPLES = Path(__file__).parents[3] / "examples"


def findings(config: dict[str, Any], datasets: list[Any] | None = None, **added: Path) -> dict[str, str]:
    return {one.place: one.text for one in findings_in("local", config, datasets or [], added)}


@pytest.mark.parametrize(
    ("config", "place", "text"),
    [
        ({"learning_rte": 1}, "learning_rte", "SimpleTuner doesn't have this option. Did you mean learning_rate?"),
        ({"--lora-rnk": 1}, "--lora-rnk", "SimpleTuner doesn't have this option. Did you mean lora_rank?"),
        ({"a/b~c": 1}, "a~1b~0c", "SimpleTuner doesn't have this option."),
        ({"train_batch_size": "many"}, "train_batch_size", '"many" is set, but a number is expected.'),
        ({"train_batch_size": True}, "train_batch_size", "true is set, but a number is expected."),
        ({"max_train_steps": [1]}, "max_train_steps", "a list is set, but a number is expected."),
        ({"use_ema": "maybe"}, "use_ema", '"maybe" is set, but true or false is expected.'),
        ({"model_type": "lorra"}, "model_type", '"lorra" is not one of its choices: full, lora. Did you mean lora?'),
        ({"lora_rank": -1}, "lora_rank", "-1 is less than 1, the lowest allowed value."),
        ({"adam_beta1": 1.5}, "adam_beta1", "1.5 is more than 1, the largest usual value."),
        ({"train_batch_size": 5000}, "train_batch_size", "5000 is more than 128, the largest usual value."),
    ],
)
def test_a_mistake_is_named(config: dict[str, Any], place: str, text: str) -> None:
    assert findings(config) == {f"/config/{place}": f"{next(iter(config))}: {text}"}


@pytest.mark.parametrize(
    "config",
    [
        *({"--learning-rate": "1e-4"}, {"Learning_rate".lower(): 1e-4}, {"train_batch": 4}, {"learning_rte": None}),
        *({"use_ema": "true"}, {"use_ema": 0}, {"mixed_precision": "BF16"}, {"resume_from_checkpoint": "checkpoint-9"}),
        *({"report_to": "wandb,tensorboard"}, {"num_eval_images": 25}, {"minimum_image_size": 0}),
        *({"sample_trainer_width": 9}, {"validation_guidance_skip_layers": [7, 8]}, {"tread_config": {"routes": []}}),
        *({"network_module": "lycoris.kohya", "anything": 1}, {"config": {"process": [{"train": {"steps": 1}}]}}),
        {"sequence_len": 1, "adapter": "lora", "datasets": [], "base_model": "x", "micro_batch_size": 1},
    ],
)
def test_what_trainers_take_is_no_mistake(config: dict[str, Any]) -> None:
    assert findings(config) == {}


@pytest.mark.parametrize(
    ("dataset", "place", "text"),
    [
        ({"instance_data_dir": "x"}, "0", "Dataset 1: id is missing. The trainer finds its cache by it."),
        ({"id": "a"}, "0", "Dataset 1: instance_data_dir is missing, which a dataset of type local needs."),
        ({"id": "a", "type": "aws"}, "0", "Dataset 1: aws_bucket_name is missing, which a dataset of type aws needs."),
        (
            {"id": "a", "dataset_type": "text_embeds"},
            "0",
            "Dataset 1: cache_dir is missing, which a dataset of type local needs.",
        ),
        (
            {"id": "a", "type": "locl", "instance_data_dir": "x"},
            "0/type",
            'Dataset 1, type: "locl" is not one of local, aws, csv, huggingface, memory, webshart. Did you mean local?',
        ),
        (
            {"id": "a", "instance_data_dir": "x", "caption_stategy": "filename"},
            "0/caption_stategy",
            "Dataset 1, caption_stategy: Did you mean caption_strategy?",
        ),
    ],
)
def test_a_dataset_is_looked_at_too(dataset: dict[str, Any], place: str, text: str) -> None:
    assert findings({}, [dataset]) == {f"/dataloader_config/{place}": text}


def test_our_own_examples_have_no_mistakes() -> None:
    for path in EXAMPLES.glob("*.json"):
        read = json.loads(path.read_text())
        assert (findings(read) if isinstance(read, dict) else findings({}, read)) == {}, path.name


def test_there_are_never_more_than_anybody_reads() -> None:
    config = {f"{name}x": 1 for name in simpletuners().options} | dict.fromkeys(simpletuners().options)
    found = list(findings(config).values())
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1].endswith(" more keys or values look like mistakes.")


class TestAddedLists:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "options.json"

    @pytest.mark.parametrize("name", ["kohya", "local"])
    def test_the_list_of_the_trainer_or_the_provider_counts(self, path: Path, name: str) -> None:
        path.write_text('{"learning_rte": {"type": "number"}}')
        config = {"network_module": "lora", "learning_rte": 1, "other": 2}
        assert findings(config, [], **{name: path}) == {"/config/other": f"other: {name} doesn't have this option."}
        path.write_text('{"other": {"type": "number"}}  ')
        assert list(findings(config, [], **{name: path})) == ["/config/learning_rte"]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[", "is not JSON"),
            ("[]", "must be a JSON object with the options by name"),
            ('{"a": 1}', "a must have an object"),
            ('{"a": {"type": "float"}}', 'a must have a "type", one of string'),
            ('{"a": {"type": "choice", "choices": "b"}}', 'a must have its "choices" as a list'),
            ('{"a": {"type": "number", "minimum": "1"}}', 'a must have its "minimum" as a number'),
        ],
    )
    def test_a_bad_list_stops_the_start_and_no_submission(
        self, path: Path, text: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path.write_text(text)
        with pytest.raises(OptionListError, match=problem):
            findings({}, local=path)
        configuration = tmp_path / "enterprise.yaml"
        configuration.write_text(f"option_lists:\n  kohya: {path}\n")
        monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", str(configuration))
        with pytest.raises(SystemCheckError, match=r"option_lists\.kohya: The option list "):
            call_command("check", tags=["configuration"])
        path.write_text('{"a": {"type": "number"}}')
        call_command("check", tags=["configuration"])

    def test_a_list_that_is_not_there_is_said(self, path: Path) -> None:
        with pytest.raises(OptionListError, match="can't be read: No such file"):
            findings({}, local=path)


@pytest.mark.django_db
@pytest.mark.parametrize("is_dry", [True, False])
def test_a_submission_is_warned_and_not_refused(client: Client, alice: User, acme: Organization, is_dry: bool) -> None:
    client.force_login(alice)
    body = {
        "config": {"learning_rte": 1e-4, "max_train_steps": 5},
        "dataloader_config": [{"id": "a", "type": "aws"}],
        "dry_run": is_dry,
    }
    answer = client.post("/api/cloud/jobs/submit", body, content_type="application/json")
    assert answer.status_code == (200 if is_dry else 201)
    said = answer.json()
    assert [one["place"] for one in said["config_warnings"]] == ["/config/learning_rte", "/dataloader_config/0"]
    assert said["config_warnings"][0]["suggestion"] == "learning_rate"
    assert {one["text"] for one in said["config_warnings"]} <= set(said["warnings"])
