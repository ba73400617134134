"""Several modules as one file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudtrain_site.serving.script_bundle import MODULES, BundleError, bundled
from cloudtrain_site.serving.static_files import collect
from tests.servers import find_binary

LOW = ("low", "let calls = 0;\nexport function count() { return ++calls; }\nexport class Low {}\n")
HIGH = (
    "high",
    'import { count as once } from "./low.js";\nconst calls = once();\nexport const twice = () => calls + once();\n',
)


def test_modules_keep_their_own_names_and_share_what_they_import() -> None:
    text = bundled([LOW, HIGH])
    assert text.count("let calls = 0;") == 1
    assert "const { count: once } = $low;" in text
    assert "export const { twice } = $high;" in text


@pytest.mark.slow
def test_the_bundle_runs(tmp_path: Path) -> None:
    node = find_binary("node")
    if not node:
        pytest.skip("there is no node")
    (tmp_path / "bundle.mjs").write_text(bundled([LOW, HIGH]))
    (tmp_path / "page.mjs").write_text('import { count, twice } from "./bundle.mjs"; console.log(twice(), count());')
    shown = subprocess.run([node, tmp_path / "page.mjs"], capture_output=True, text=True, check=True)
    assert shown.stdout == "3 3\n"


@pytest.mark.parametrize(
    "source",
    ["export let changing = 0;", 'import * as all from "./low.js";', 'import { count } from "../other/low.js";'],
)
def test_what_it_does_not_know_stops_the_collecting(source: str) -> None:
    with pytest.raises(BundleError):
        bundled([LOW, ("high", source)])


def test_one_name_is_exported_once() -> None:
    with pytest.raises(BundleError, match="count"):
        bundled([LOW, ("high", "export const count = 1;")])


@pytest.mark.slow
def test_pages_and_other_modules_name_the_bundle(tmp_path: Path) -> None:
    folder = collect(tmp_path / "static")
    bundles = {path.name for path in folder.glob("cloudtrain/shell/bundle.*.js")}
    assert len(bundles) == 1
    queue = next(path for path in folder.glob("queueing/queue.*.js")).read_text()
    assert f"../cloudtrain/shell/{min(bundles)}" in queue
    assert not [name for name in MODULES if f"shell/{Path(name).stem}." in queue]
