"""How results of benches are compared with the last ones, and shown."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench import results
from bench.plan import BENCHES
from bench.results import Result, comparisons
from bench.stack import FIGURES_VARIABLE as COLLECTED
from bench.stack import ROOT, Figure, print_table


def worse(new: Figure, old: Figure, machine: str = "here") -> list[str]:
    return list(comparisons("one", Result([new], machine="here"), Result([old], machine=machine)))


def test_one_beside_a_baseline_is_compared_by_its_ratio() -> None:
    last = Figure("a pass", 10, "ms", 20)
    assert worse(Figure("a pass", 30, "ms", 60), last) == []
    assert worse(Figure("a pass", 30, "ms", 40), last, machine="elsewhere") == [
        "one: a pass: 0.75 times its baseline, last 0.50 times its baseline"
    ]


def test_one_without_a_baseline_is_compared_on_the_same_machine_alone() -> None:
    last = Figure("memory", 200, "MB")
    assert worse(Figure("memory", 229, "MB"), last) == []
    assert worse(Figure("memory", 231, "MB"), last) == ["one: memory: 231 MB, last 200 MB"]
    assert worse(Figure("memory", 231, "MB"), last, machine="elsewhere") == []


@pytest.mark.parametrize("figure", [Figure("rate", 80, "/s"), Figure("rate", 80, "times", at_least=True)])
def test_less_is_worse_where_more_is_better(figure: Figure) -> None:
    last = Figure("rate", 100, figure.unit, at_least=figure.at_least)
    assert len(worse(figure, last)) == 1
    assert worse(last, figure) == []


def test_single_moments_and_what_must_not_happen_are_not_compared() -> None:
    assert worse(Figure("a submission, p99", 900, "ms"), Figure("a submission, p99", 100, "ms")) == []
    assert worse(Figure("lost", 3, target=0), Figure("lost", 0, target=0)) == []


def test_figures_of_one_name_are_told_apart_by_their_order() -> None:
    now, then = ([Figure("requests", 2), Figure("requests", many)] for many in (30, 20))
    found = comparisons("sync", Result(now, machine="here"), Result(then, machine="here"))
    assert list(found) == ["sync: requests: 30, last 20"]


def test_results_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(results, "DOCUMENT", tmp_path / "performance.md")
    kept = {"rest": Result([Figure("memory", 212.3, "MB", 180, 220)]), "ray": Result(problem="it needs Ray")}
    results.write(kept)
    assert results.read(tmp_path / "results.json") == kept
    text = (tmp_path / "performance.md").read_text()
    assert "| memory | 212 MB | 180 MB | 1.18 | at most 220 MB | yes |" in text
    assert "Not measured: it needs Ray." in text


def test_a_bench_hands_over_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(COLLECTED, str(tmp_path / "figures"))
    assert print_table("One", [Figure("missed", 2, target=1)]) == 1
    assert '"missed", "value": 2' in (tmp_path / "figures").read_text()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_could_not_be_measured_is_shown_and_misses_its_target(
    value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_table("One", [Figure("never came", value, "ms", 10, 400)]) == 1
    assert f"{value} ms" in capsys.readouterr().out


def test_every_bench_has_its_place_in_the_plan() -> None:
    assert {path.stem.removeprefix("bench_") for path in (ROOT / "bench").glob("bench_*.py")} == BENCHES.keys()
