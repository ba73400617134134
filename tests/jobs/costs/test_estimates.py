"""What a training will probably take and cost, and what that is from."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from jobs.configs.reading import read_config
from jobs.costs.estimates import OPERATORS_FIGURE, Range, estimate, longest_seconds
from jobs.costs.pace import kind_of
from jobs.costs.prices import rate_of
from jobs.models import Job, ProviderConfig
from jobs.sample_trainer.config import read_settings
from jobs.sample_trainer.errors import ConfigError
from tests.jobs.configs.test_reading import CONFIGS
from tests.jobs.costs.runs import FLUX, seconds_of

MakeJob = Callable[..., Job]


def test_without_runs_the_operators_figure_counts(provider: ProviderConfig) -> None:
    expected = estimate(provider, FLUX, "h100")
    assert (expected.seconds, expected.source, expected.doubt) == (Range(2000, 2000), OPERATORS_FIGURE, "")
    assert expected.cost == Range(Decimal("20.0000"), Decimal("20.0000"))


def test_of_fewer_than_five_runs_none_lowers_the_operators_figure(
    provider: ProviderConfig, ran: Callable[..., Job]
) -> None:
    for _ in range(4):
        ran(seconds=600)
    assert seconds_of(provider) == (2000, 2000)
    assert (
        estimate(provider, FLUX, "h100").source == f"{OPERATORS_FIGURE} and 4 runs of flux LoRA at 1024 pixels on h100"
    )
    ran(seconds=600)
    assert seconds_of(provider) == pytest.approx((600, 600))
    assert estimate(provider, FLUX, "h100").source == "from 5 runs of flux LoRA at 1024 pixels on h100"


def test_without_an_operators_figure_few_runs_are_the_only_source(
    provider: ProviderConfig, ran: Callable[..., Job]
) -> None:
    validated = {**FLUX, "validation_steps": 100, "validation_prompt": "a tin toy"}
    provider.seconds_per_step = 0
    ran(validated)
    kind = "flux LoRA at 1024 pixels with validations on h100"
    assert estimate(provider, validated, "h100").source == f"from 1 run of {kind}"


def test_the_longest_that_a_job_takes_is_the_upper_end_by_the_stored_settings(
    provider: ProviderConfig, make_job: MakeJob
) -> None:
    provider.save()
    job = make_job(provider="replicate", hardware_profile="h100", config=FLUX)
    assert longest_seconds(job) == 2000
    assert longest_seconds(make_job(provider="local", hardware_profile="cpu", config=FLUX)) == 1000, "nobody stored any"
    assert longest_seconds(make_job(provider="replicate", hardware_profile="h100", config={})) is None


def test_a_slower_run_raises_the_estimate_at_once(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    ran(seconds=5000)
    assert seconds_of(provider) == pytest.approx((5000, 5000))


def test_the_range_holds_eight_of_ten_runs(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    for seconds in range(100, 2101, 100):
        ran(seconds=seconds)
    assert seconds_of(provider) == pytest.approx((390, 1910))


@pytest.mark.parametrize(
    "other",
    [
        {"model_family": "sdxl"},
        {"model_type": "full"},
        {"resolution": 256},
        {"train_batch_size": 4},
        {"gradient_accumulation_steps": 4},
        {"model_flavour": "schnell"},
        {"base_model_precision": "fp8-quanto"},
        {"gradient_checkpointing": False},
        {"lora_rank": 128},
        {"optimizer": "soap"},
    ],
)
def test_no_quick_run_lowers_the_estimate_of_another_kind(
    provider: ProviderConfig, ran: Callable[..., Job], other: dict[str, Any]
) -> None:
    for _ in range(5):
        ran({**FLUX, **other}, seconds=61)
    assert seconds_of(provider) == (2000, 2000)
    assert seconds_of(provider, {**FLUX, **other}) == pytest.approx((61, 61))


def test_each_pass_of_a_step_takes_the_operators_figure(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    few = {**FLUX, "max_train_steps": 10, "gradient_accumulation_steps": 100_000}
    assert seconds_of(provider, few) == (2_000_000, 2_000_000)
    ran({**few, "max_train_steps": 1000}, seconds=61)
    assert seconds_of(provider, few) == (2_000_000, 2_000_000)


def test_each_sample_of_a_batch_takes_the_operators_figure(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    large = {**FLUX, "max_train_steps": 30, "train_batch_size": 64, "gradient_accumulation_steps": 2}
    assert seconds_of(provider, large) == (7680, 7680)
    assert seconds_of(provider, {"max_train_steps": 30}) == (60, 60), "a batch that isn't given counts as 1"
    for _ in range(5):
        ran({**large, "max_train_steps": 1000}, seconds=1000)
    assert seconds_of(provider, large) == pytest.approx((30, 30)), "five runs of the kind tell better"


VALIDATIONS = {"validation_step_interval": 100, "validation_prompt": "a cat", "validation_num_inference_steps": 30}


def test_validations_take_time_besides_the_steps(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    validated = {**FLUX, **VALIDATIONS}
    # 12 of two prompts with 30 passes each, of which three take as long as a step.
    assert seconds_of(provider, validated) == pytest.approx((2480, 2480))
    assert estimate(provider, validated, "h100").source == f"{OPERATORS_FIGURE} with validations"
    for _ in range(5):
        ran(seconds=61)
    assert seconds_of(provider, validated) == pytest.approx((2480, 2480)), "runs without any tell nothing of it"
    for _ in range(5):
        ran(validated, seconds=500)
    assert seconds_of(provider, validated) == pytest.approx((500, 500))
    expected = estimate(provider, validated, "h100")
    assert expected.source == "from 5 runs of flux LoRA at 1024 pixels with validations on h100"


def test_no_quick_run_on_short_videos_lowers_the_estimate_of_longer_ones(
    provider: ProviderConfig, ran: Callable[..., Job]
) -> None:
    short, long = ([{"dataset_type": "video", "video": {"num_frames": frames}}] for frames in (1, 121))
    for _ in range(5):
        ran(FLUX, short, seconds=61)
    assert estimate(provider, FLUX, "h100", long).seconds == Range(2000, 2000)
    assert estimate(provider, FLUX, "h100", short).source == (
        "from 5 runs of flux LoRA at 1024 pixels, 1 frame on h100"
    )


def test_validations_too_many_are_no_training_that_anybody_pays(provider: ProviderConfig) -> None:
    many = estimate(provider, {**FLUX, **VALIDATIONS, "num_validation_images": 10**6}, "h100")
    assert (many.seconds, many.doubt) == (None, "1,000 steps with their validations would take longer than 116 days.")


@settings(suppress_health_check=list(HealthCheck))
@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "validation_step_interval": st.integers(0, 200),
            "validation_prompt": st.text(max_size=5),
            "num_validation_images": st.integers(1, 20),
            "validation_num_inference_steps": st.integers(1, 100).map(str),
            "validation_disable": st.booleans(),
            "validation_prompt_library": st.booleans(),
            "eval_steps_interval": st.integers(1, 50),
            "eval_dataset_id": st.just("judged"),
        },
    )
)
def test_no_setting_of_validations_lowers_the_estimate(options: dict[str, Any], provider: ProviderConfig) -> None:
    plain, validated = (estimate(provider, config, "h100").highest_cost for config in (FLUX, {**FLUX, **options}))
    assert plain is not None
    assert validated is None or validated >= plain


BATCHES = st.one_of(st.none(), st.integers(1, 500), st.integers(1, 500).map(str))


@settings(suppress_health_check=list(HealthCheck))
@given(steps=st.integers(1, 5000), batches=st.tuples(BATCHES, BATCHES), passes=BATCHES, kohya=st.booleans())
def test_a_larger_batch_never_lowers_the_estimate(
    steps: int, batches: tuple[Any, Any], passes: Any, kohya: bool, provider: ProviderConfig
) -> None:
    rest = {"max_train_steps": steps, "gradient_accumulation_steps": passes, **({} if kohya else FLUX)}
    small, large = sorted(batches, key=lambda batch: int(batch or 1))
    first, second = (
        estimate(provider, {**rest, "max_train_steps": steps, "train_batch_size": batch}, "h100").highest_cost
        for batch in (small, large)
    )
    assert second is None or (first is not None and first <= second), "what is not known is held by every rule"


def test_no_quick_run_on_small_pictures_lowers_the_estimate_of_larger_ones(
    provider: ProviderConfig, ran: Callable[..., Job]
) -> None:
    small, large = [{"id": "a", "resolution": 256}], [{"id": "a", "resolution": 1024}, {"id": "words"}]
    for _ in range(5):
        ran(FLUX, small, seconds=61)
    assert estimate(provider, FLUX, "h100", large).seconds == Range(2000, 2000)
    assert estimate(provider, FLUX, "h100").seconds == Range(2000, 2000)
    of_small = estimate(provider, FLUX, "h100", small)
    assert of_small.seconds and of_small.seconds.high == pytest.approx(61)
    assert of_small.source == "from 5 runs of flux LoRA at 256 pixels on h100"


@pytest.mark.parametrize("resolution", ["large", [256, 1024], -1, True])
def test_a_dataset_of_a_size_that_cant_be_read_puts_the_cost_in_doubt(
    provider: ProviderConfig, resolution: Any
) -> None:
    datasets = [{"id": "a"}, {"id": "b", "resolution": resolution}]
    assert estimate(provider, FLUX, "h100", datasets).doubt.startswith("resolution of dataset 2 is ")


@pytest.mark.parametrize("family", ["a\u202eb", "x" * 500, "<b>", "a\nb"])
def test_a_name_that_its_submitter_made_up_is_not_shown_to_reviewers(
    provider: ProviderConfig, ran: Callable[..., Job], family: str
) -> None:
    config = {**FLUX, "model_family": family}
    assert ran(config).training_kind
    assert estimate(provider, config, "h100").source.endswith("1 run of LoRA at 1024 pixels on h100")


def test_without_an_operators_figure_runs_alone_tell(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    provider.seconds_per_step = 0
    expected = estimate(provider, FLUX, "h100")
    assert (expected.seconds, expected.cost) == (None, None)
    assert expected.doubt.startswith("no run of flux LoRA at 1024 pixels on h100 has ended")
    ran(seconds=600)
    expected = estimate(provider, FLUX, "h100")
    assert seconds_of(provider) == pytest.approx((600, 600))
    assert expected.source == "from 1 run of flux LoRA at 1024 pixels on h100"


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -1, 1e300])
def test_by_an_operators_figure_that_can_not_be_true_nothing_is_known(
    provider: ProviderConfig, ran: Callable[..., Job], figure: float
) -> None:
    ran()
    provider.seconds_per_step = figure
    expected = estimate(provider, FLUX, "h100")
    assert expected.seconds is None
    assert "can't be true" in expected.doubt


def test_an_operators_figure_that_can_not_be_true_is_refused(client_of: Callable[..., APIClient], root: User) -> None:
    answer = client_of(root).put("/api/cloud/providers/replicate", {"seconds_per_step": 1e300}, format="json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["seconds_per_step"])


@pytest.mark.parametrize("price", ["many", float("nan"), float("inf"), -1, None, True])
def test_a_price_that_is_none_is_not_known(provider: ProviderConfig, price: Any) -> None:
    provider.cost_per_second = {"h100": price}
    assert rate_of(provider, "h100") is None
    assert estimate(provider, FLUX, "h100").doubt == "there is no price for h100."


def test_what_is_longer_or_dearer_than_can_be_is_not_known(provider: ProviderConfig) -> None:
    longest = estimate(provider, {**FLUX, "max_train_steps": 2**31 - 1}, "h100")
    assert (longest.seconds, longest.cost) == (None, None)
    assert longest.doubt == "2,147,483,647 steps would take longer than 116 days."
    provider.cost_per_second = {"h100": 10**7}
    assert estimate(provider, FLUX, "h100").doubt == "it is more than can be stored."


@pytest.mark.parametrize(("key", "value"), [("train_batch_size", "two"), ("MODEL_TYPE", "full"), ("resolution", True)])
def test_a_setting_that_can_not_be_read_makes_the_cost_not_known(
    provider: ProviderConfig, key: str, value: Any
) -> None:
    expected = estimate(provider, {**FLUX, key: value}, "h100")
    assert (expected.seconds, expected.cost) == (None, None)
    assert key in expected.doubt


def test_an_estimate_reads_no_more_than_its_sample(provider: ProviderConfig, ran: Callable[..., Job]) -> None:
    ran()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        estimate(provider, FLUX, "h100")
    [query] = queries.captured_queries
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{query['sql']}")
        plan = str(cursor.fetchall())
    assert "job_pace" in plan or connection.vendor != "sqlite"
    assert "LIMIT 20" in query["sql"]


@pytest.mark.slow
@settings(suppress_health_check=list(HealthCheck))
@given(config=CONFIGS)
def test_an_estimate_is_for_what_the_sample_trainer_does(
    config: dict[str, Any], provider: ProviderConfig, tmp_path: Path
) -> None:
    expected = estimate(provider, config, "h100")
    if expected.cost is None:
        assert expected.doubt  # held by each rule about cost, which says why
        return
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    try:
        does = read_settings(path)
    except ConfigError:
        return  # it makes none
    seconds = 2 * does.steps * does.batch_size
    assert expected.seconds == Range(seconds, seconds)
    alike = {"max_train_steps": does.steps, "train_batch_size": does.batch_size}
    assert kind_of(read_config(config)) in (kind_of(read_config(alike)), kind_of(read_config({})))
