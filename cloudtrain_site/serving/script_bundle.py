"""The scripts of every page as one file: a first visit asks for one where the source has eight.

Each module becomes a function's scope, in the order of its imports; the file exports what they export. Modules written
otherwise than ours raise BundleError: imports and exports stand at the beginning of a line, and no export is assigned
a second time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

NAME = "cloudtrain/shell/bundle.js"
#: A module follows those that it imports.
MODULES = tuple(
    f"cloudtrain/shell/{name}.js"
    for name in ("times", "live", "page", "sections", "desktop_notices", "theme", "menus", "keys")
)

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


class BundleError(Exception):
    """A module that can't be bundled."""


def bundled(sources: Sequence[tuple[str, str]]) -> str:
    """Return one module for several: their names, without `.js`, and sources."""
    parts: list[str] = []
    exports: dict[str, str] = {}
    for name, source in sources:
        exported = [match[1] for match in _EXPORT.finditer(source)]
        body = _IMPORT.sub(_as_constants, _EXPORT.sub("", source))
        if left := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
            raise BundleError(f"{name}.js: {left[0]}")
        if twice := exports.keys() & set(exported):
            raise BundleError(f"{name}.js exports {min(twice)}, and so does {exports[min(twice)]}.js")
        exports |= dict.fromkeys(exported, name)
        parts.append(f"const ${name} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();\n")
    parts += [f"export const {{ {one} }} = ${name};\n" for one, name in exports.items()]
    return "".join(parts)


def write_bundle(folder: Path) -> None:
    """Write the bundle beside its modules, which `folder` has."""
    sources = [(Path(name).stem, (folder / name).read_text(encoding="utf-8")) for name in MODULES]
    (folder / NAME).write_text(bundled(sources), encoding="utf-8")


def _as_constants(match: re.Match[str]) -> str:
    names = match[1]
    return f"const {{{names.replace(' as ', ': ')}}} = ${match[2]};" if names else ""
