"""Each script and stylesheet as one file, with what it imports: fewer requests at a first visit.

A module becomes a function's scope, after those that it imports. What every page has is a file of its own, the shell,
which the others import. Modules written otherwise than ours raise BundleError: imports and exports stand at the
beginning of a line, and no export is assigned a second time.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Sequence

SHELL = "cloudtrain/shell/bundle.js"
#: The modules of every page. Each of them is reached as the shell.
SHELL_MODULES = tuple(
    f"cloudtrain/shell/{name}.js"
    for name in ("times", "live", "page", "sections", "desktop_notices", "theme", "menus", "keys")
)

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"(\.[^"]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_STYLE_IMPORT = re.compile(r'^@import "(\.[^"]+\.css)";\n', re.MULTILINE)

Read = Callable[[str], str]


class BundleError(Exception):
    """A file that can't be bundled."""


def shell(read: Read) -> str:
    """Return the module that stands for those of the shell; `read` returns the source of a name."""
    bundle = _Bundle(SHELL, read, shared=())
    text, exports = bundle.text(SHELL_MODULES), {}
    for name, exported in bundle.exports.items():
        for one in exported:
            if one in exports:
                raise BundleError(f"{name} exports {one}, and so does another")
            exports[one] = f"export const {{ {one} }} = {_scope_of(name)};\n"
    return text + "".join(exports.values())


def page_script(name: str, read: Read) -> str:
    """Return the module `name` with all that it imports, but the shell and the libraries."""
    return _Bundle(name, read, shared=SHELL_MODULES).text([name])


def stylesheet(name: str, read: Read) -> str:
    """Return the stylesheet with those that it imports in their place."""

    def imported(match: re.Match[str]) -> str:
        text = stylesheet(_joined(name, match[1]), read)
        if "url(" in text:
            raise BundleError(f"{name} imports {match[1]}, whose addresses begin elsewhere")
        return text + "\n"

    return _STYLE_IMPORT.sub(imported, read(name))


class _Bundle:
    """The text of one file, while it is made."""

    def __init__(self, name: str, read: Read, shared: Collection[str]) -> None:
        self._folder, self._read, self._shared = posixpath.dirname(name), read, shared
        #: Of what is imported from another file; of the modules in this one, in their order.
        self._outside: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self.exports: dict[str, list[str]] = {}

    def text(self, names: Sequence[str]) -> str:
        for name in names:
            self._add(name)
        return "".join([*self._outside.values(), *self._parts.values()])

    def _add(self, name: str) -> None:
        """Add the module after those that it imports."""
        if name in self.exports:
            if name not in self._parts:
                raise BundleError(f"{name} imports itself by way of others")
            return
        source = self._read(name)
        exported = self.exports[name] = [match[1] for match in _EXPORT.finditer(source)]
        body = _IMPORT.sub(lambda match: self._constants(name, match), _EXPORT.sub("", source))
        if left := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
            raise BundleError(f"{name}: {left[0]}")
        returned = f"return {{ {', '.join(exported)} }};"
        self._parts[name] = f"const {_scope_of(name)} = (() => {{\n{body}\n{returned}\n}})();\n"

    def _constants(self, importer: str, match: re.Match[str]) -> str:
        name = _joined(importer, match[2])
        if name in self._shared or "/vendor/" in name:
            scope = self._import(SHELL if name in self._shared else name)
        else:
            self._add(name)
            scope = _scope_of(name)
        return f"const {{{match[1].replace(' as ', ': ')}}} = {scope};" if match[1] else ""

    def _import(self, name: str) -> str:
        scope = f"from_{_scope_of(name)}"
        address = posixpath.join(".", posixpath.relpath(name, self._folder))
        self._outside[name] = f'import * as {scope} from "{address}";\n'
        return scope


def _scope_of(name: str) -> str:
    return "in_" + re.sub(r"\W", "_", name.removesuffix(".js"))


def _joined(name: str, relative: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), relative))
