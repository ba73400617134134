"""Scripts and stylesheets with what they import, as one file each."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain_site.serving.script_bundle import SHELL, SHELL_MODULES, BundleError, page_script, shell, stylesheet
from tests.servers import find_binary

ROOT = Path(__file__).resolve().parents[3]
IMPORTED = re.compile(r'^import .*?"(\.[^"]+)";$', re.MULTILINE)
SCRIPT = re.compile(r"""type="module"\s+src="{% static '([^']+)' %}""")
SOURCES = {
    "a/low.js": "let calls = 0;\nexport function count() { return ++calls; }\nexport class Low {}\n",
    "a/high.js": 'import { count as once } from "./low.js";\nconst calls = once();\n'
    "export const twice = () => calls + once();\n",
    "b/page.js": 'import "../a/high.js";\nimport { twice } from "../a/high.js";\nimport { count } from "../a/low.js";\n'
    'import { library } from "../c/vendor/it.js";\nconsole.log(twice(), count(), library);\n',
    "b/calls.js": 'import { showTimes as show } from "../cloudtrain/shell/times.js";\nshow();\n',
    "b/circle.js": 'import "./page.js";\nimport "./circle.js";\n',
    "b/a.css": '@import "../a/b.css";\n\na { color: red; }\n',
    "a/b.css": "b { color: blue; }\n",
    "a/picture.css": "a { background: url(picture.png); }\n",
    "b/wrong.css": '@import "../a/picture.css";\n',
}


def shell_sources(**changes: str) -> Callable[[str], str]:
    return lambda name: changes.get(Path(name).stem, "")


def test_a_script_has_what_it_imports_once_and_before_it() -> None:
    text = page_script("b/page.js", SOURCES.__getitem__)
    assert text.count("let calls = 0;") == 1
    assert "const { count: once } = in_a_low;" in text
    assert 'import * as from_in_c_vendor_it from "./../c/vendor/it.js";' in text


def test_a_script_shares_the_shell_with_the_others() -> None:
    text = page_script("b/calls.js", SOURCES.__getitem__)
    assert f'from "./../{SHELL}"' in text
    assert "const { showTimes: show } = from_in_cloudtrain_shell_bundle;" in text


def test_the_shell_exports_what_its_modules_do() -> None:
    assert "export const { one } = in_cloudtrain_shell_live;" in shell(shell_sources(live="export const one = 1;"))


@pytest.mark.slow
def test_a_bundle_runs(tmp_path: Path) -> None:
    node = find_binary("node")
    if not node:
        pytest.skip("there is no node")
    (tmp_path / "c" / "vendor").mkdir(parents=True)
    (tmp_path / "c" / "vendor" / "it.js").write_text('export const library = "it";')
    (tmp_path / "b").mkdir()
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "b" / "page.js").write_text(page_script("b/page.js", SOURCES.__getitem__))
    shown = subprocess.run([node, tmp_path / "b" / "page.js"], capture_output=True, text=True, check=True)
    assert shown.stdout == "3 3 it\n"


@pytest.mark.parametrize(
    "source",
    ["export let changing = 0;", 'import * as all from "./low.js";', 'import low from "./low.js";'],
)
def test_what_it_does_not_know_stops_the_collecting(source: str) -> None:
    with pytest.raises(BundleError, match="low"):
        page_script("b/page.js", {**SOURCES, "a/low.js": source}.__getitem__)


def test_modules_that_import_each_other_stop_it_too() -> None:
    with pytest.raises(BundleError, match="imports itself"):
        page_script("b/circle.js", SOURCES.__getitem__)


def test_the_shell_exports_one_name_once() -> None:
    with pytest.raises(BundleError, match="count"):
        shell(shell_sources(live="export const count = 1;", page="export const count = 2;"))


def test_a_stylesheet_has_what_it_imports() -> None:
    assert stylesheet("b/a.css", SOURCES.__getitem__) == "b { color: blue; }\n\n\na { color: red; }\n"
    with pytest.raises(BundleError, match="addresses"):
        stylesheet("b/wrong.css", SOURCES.__getitem__)


def test_no_page_has_a_module_twice() -> None:
    """Two scripts of one page would each have a copy of what both import, with a state of its own."""
    roots = [ROOT / room / "static" for room in ("jobs", "queueing", "approvals")]

    def modules(name: str) -> set[str]:
        source = next((root / name).read_text() for root in roots if (root / name).exists())
        found = {str((Path("/") / name).parent.joinpath(one).resolve())[1:] for one in IMPORTED.findall(source)}
        return {name}.union(*(modules(one) for one in found if one not in SHELL_MODULES and "/vendor/" not in one))

    for template in (ROOT / "templates").rglob("*.html"):
        seen: set[str] = set()
        for name in SCRIPT.findall(template.read_text()):
            if name not in SHELL_MODULES:
                assert not seen & modules(name), template
                seen |= modules(name)
