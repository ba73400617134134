"""`make mutants`: which changes are tried, how they get into a module, and what is said of them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.mutants.__main__ import ROOT, equivalents, sampled
from tests.mutants.changes import mutants_of
from tests.mutants.modules import MODULES
from tests.mutants.swap import change

SOURCE = '''
LIMIT = 3
NAMES = frozenset(("a", "b"))


class Shelf:
    size: int = 5

    def room(self, taken: int) -> int:
        """How much more goes in."""
        logger.info("asked", extra={"taken": taken + 1})
        if taken >= self.size or self.is_closed:
            return 0
        return self.size - taken

    @property
    def is_closed(self) -> bool:
        return False

    @cached_property
    def width(self) -> int:
        return 1


def kept(rows):
    try:
        rows = rows.filter(shelf=1, removed=None).order_by("name")
    except LookupError:
        return None
    with unit_of_work():
        change_state(rows, only_if={"token": 1, "status": 2})
    return [row for row in rows if not row.hidden]
'''


def changes_of(source: str, function: str) -> list[str]:
    return [mutant.change for mutant in mutants_of(source) if mutant.function == function]


def test_conditions_guards_boundaries_and_constants_are_changed() -> None:
    assert sorted(changes_of(SOURCE, "Shelf.room")) == sorted(
        [
            "taken >= self.size or self.is_closed -> (not (taken >= self.size or self.is_closed))",
            "taken >= self.size or self.is_closed -> False",
            "taken >= self.size or self.is_closed -> (taken >= self.size and self.is_closed)",
            "taken >= self.size or self.is_closed -> (taken >= self.size)",
            "taken >= self.size or self.is_closed -> (self.is_closed)",
            "taken >= self.size -> (taken > self.size)",
            "taken >= self.size -> (not (taken >= self.size))",
            "0 -> 1",
            "self.size - taken -> (self.size + taken)",
        ]
    )


def test_filters_fields_transactions_and_recoveries_are_left_out() -> None:
    assert sorted(changes_of(SOURCE, "kept")) == sorted(
        [
            'rows.filter(shelf=1, removed=None).order_by("name") -> rows.filter(shelf=1, removed=None)',
            "rows.filter(shelf=1, removed=None) -> rows",
            "shelf=1, -> ",
            "removed=None -> ",
            *("1 -> 2", "1 -> 2", "2 -> 3"),
            "return None -> raise",
            'unit_of_work() -> __import__("contextlib").nullcontext()',
            'only_if={"token": 1, "status": 2} -> ',
            """{"token": 1, "status": 2} -> {'status': 2}""",
            """{"token": 1, "status": 2} -> {'token': 1}""",
            'change_state(rows, only_if={"token": 1, "status": 2}) -> pass',
            "not row.hidden -> (row.hidden)",
            "not row.hidden -> True",
        ]
    )


def test_declarations_logs_and_words_stay() -> None:
    assert changes_of(SOURCE, "") == ["3 -> 4"]
    assert changes_of(SOURCE, "Shelf") == []
    assert changes_of(SOURCE, "Shelf.is_closed") == ["False -> True"]


def imported(name: str, source: str) -> Any:
    module = ModuleType(name)
    module.__dict__.update(logger=logging.getLogger("mutants"), cached_property=cached_property)
    exec(compile(source, name, "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    ("function", "replacement", "result"),
    [
        ("Shelf.room", "self.size - taken -> (self.size + taken)", (7, 1)),
        ("Shelf.is_closed", "False -> True", (0, 1)),
        ("Shelf.width", "1 -> 2", (3, 2)),
    ],
)
def test_a_mutant_is_put_into_the_function_that_is_there(
    function: str, replacement: str, result: tuple[int, int]
) -> None:
    shelves = imported("shelves", SOURCE)
    shelf = shelves.Shelf()
    assert (shelf.room(2), shelves.Shelf().width) == (3, 1)
    (mutant,) = [one for one in mutants_of(SOURCE) if (one.function, one.change) == (function, replacement)]
    change(shelves, SOURCE, mutant)
    assert (shelf.room(2), shelf.width) == result


def test_a_constant_is_changed_wherever_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from datetime import timedelta\nKEEP = timedelta(hours=24)\ndef kept(keep=KEEP): return keep\n"
    first, second = imported("first", source), imported("second", "")
    second.KEEP = first.KEEP
    monkeypatch.setitem(sys.modules, "second", second)
    (mutant,) = mutants_of(source)
    change(first, source, mutant)
    assert (str(first.KEEP), second.KEEP is first.KEEP is first.kept()) == ("1 day, 1:00:00", True)


def test_a_sample_is_always_the_same() -> None:
    numbers = list(range(100))
    assert sampled("a", numbers, 10) == sampled("a", numbers, 10) == sorted(sampled("a", numbers, 10))
    assert sampled("a", numbers, 10) != sampled("b", numbers, 10)
    assert sampled("a", numbers, 0) == sampled("a", numbers, 100) == numbers


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_table_is_there_with_its_tests(module: str) -> None:
    assert (ROOT / module).exists()
    nearby = MODULES[module]
    assert all((ROOT / name).exists() for name in (*nearby.nearest, *nearby.further))


@pytest.mark.slow
def test_each_equivalent_mutant_is_one_still() -> None:
    """Else its line was changed: look again whether it matters now."""
    named: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for file, *mutant in equivalents():
        named[file].add((mutant[0], mutant[1], mutant[2]))
    for file, expected in named.items():
        found = {(one.function, one.line, one.change) for one in mutants_of((ROOT / file).read_text())}
        assert expected <= found, (file, expected - found)


@pytest.mark.long
def test_a_run_says_what_lives_and_leaves_the_tree_as_it_is() -> None:
    module = Path(ROOT / "jobs/webhooks/signatures.py")
    before = module.read_bytes()
    run = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "jobs/webhooks/signatures.py", "--sample", "3", "--processes", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1].split()[:2] == ["jobs/webhooks/signatures.py", "3"]
    assert module.read_bytes() == before
