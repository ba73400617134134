"""Reads a YAML file against a schema. Each error names file, line, key and the allowed values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cloudtrain_site.conf.environment import ConfigurationError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(bool|int|float|null|str|timestamp|map|seq|merge|value)")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class ParsedValue:
    """A value of the file, and its line."""

    value: Any
    line: int


@dataclass(frozen=True)
class Text:
    """A scalar with its variables filled in. `shown` is its text in the file: a variable may contain a secret."""

    value: str
    shown: str
    is_quoted: bool = False


@dataclass(frozen=True)
class Kind:
    """The values of a key: `read` makes the value, or raises ValueError; `allowed` describes them."""

    allowed: str
    read: Callable[[Any], Any]
    is_list: bool = False


Schema = Mapping[str, "Kind | Schema"]


def boolean() -> Kind:
    """Accept `true` or `false`."""
    return Kind("true or false", lambda text: _BOOLEANS[_plain(text).lower()])


def whole_number(lowest: int, highest: int, unit: str = "") -> Kind:
    """Accept a whole number within bounds."""

    def read(text: Text) -> int:
        number = int(_plain(text)) if _WHOLE_NUMBER.fullmatch(_plain(text)) else lowest - 1
        if not lowest <= number <= highest:
            raise ValueError
        return number

    return Kind(f"a whole number{unit} from {lowest} to {highest}", read)


def list_of_texts(allowed: str, accept: Callable[[list[str]], bool]) -> Kind:
    """Accept a list of texts for which `accept` returns True."""

    def read(items: list[Text]) -> tuple[str, ...]:
        values = [item.value for item in items]
        if not accept(values):
            raise ValueError
        return tuple(values)

    return Kind(allowed, read, is_list=True)


def _plain(text: Text) -> str:
    if text.is_quoted:
        raise ValueError
    return text.value


class _Loader(yaml.SafeLoader):
    """Builds the tree of nodes. Refuses aliases, with which a small file can expand to gigabytes."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is nested too deep", problem_mark=event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


@dataclass
class YamlSource:
    """One file, and the environment that replaces its `${VAR}`."""

    path: Path
    environment: Mapping[str, str]
    #: The variables that the file names, so that a cache can tell when one has changed.
    variables: set[str] = field(default_factory=set)

    def read(self, schema: Schema) -> dict[str, ParsedValue]:
        """Return the file's values by dotted key. Raises ConfigurationError."""
        root = self._compose(self._text())
        found: dict[str, ParsedValue] = {}
        if root is not None:
            self._walk(root, schema, "", found)
        return found

    def _text(self) -> str:
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"{self.path} can't be read: {error.strerror or error}.") from None
        if len(content) > MAX_BYTES:
            raise ConfigurationError(f"{self.path} is larger than {MAX_BYTES // 1024} KB, which no configuration is.")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self._refuse(line, "there is a byte that is not UTF-8; save the file as UTF-8")

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return _Loader(text).get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line if mark else 0
            rows = text.splitlines()
            indent = re.match(r"\s*", rows[line] if line < len(rows) else "")
            if indent and "\t" in indent[0]:
                self._refuse(line + 1, "a tab stands where only spaces may; indent with spaces")
            problem = str(error.problem or error.context).removeprefix("but ")
            self._refuse(line + 1, f"this is not the YAML that is read here: {problem}")
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            self._refuse(line, "there is a control character; remove it")

    def _walk(self, node: yaml.Node, schema: Schema, prefix: str, found: dict[str, ParsedValue]) -> None:
        if isinstance(node, yaml.ScalarNode) and _is_empty(node):
            return  # a section whose keys are all commented out
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            what = f"`{prefix.rstrip('.')}`" if prefix else "the file"
            self._refuse(line, f"{what} must hold {_listed(schema)}, each followed by a colon, not {_kind_of(node)}")
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, schema, prefix)
            if key in lines:
                self._refuse(_line(key_node), f"`{prefix}{key}` is given a second time; line {lines[key]} has it too")
            lines[key] = _line(key_node)
            expected = schema[key]
            if isinstance(expected, Kind):
                found[prefix + key] = ParsedValue(self._value(value_node, expected, prefix + key), lines[key])
            else:
                self._walk(value_node, expected, f"{prefix}{key}.", found)

    def _key(self, node: yaml.Node, schema: Schema, prefix: str) -> str:
        key = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping as a key"
        if key not in schema:
            near = difflib.get_close_matches(key, schema, n=1)
            hint = f"did you mean `{prefix}{near[0]}`?" if near else f"allowed here: {_listed(schema)}."
            raise ConfigurationError(f"{self.path}, line {_line(node)}: unknown key `{prefix}{_short(key)}`; {hint}")
        return key

    def _value(self, node: yaml.Node, kind: Kind, key: str) -> Any:
        line = _line(node)
        if not _STANDARD_TAG.fullmatch(node.tag):
            self._refuse(line, f"`{key}` has the tag {_short(node.tag)}, which means nothing here; remove it")
        if isinstance(node, yaml.ScalarNode) and _is_empty(node):
            self._refuse(line, f"`{key}` has no value; it must be {kind.allowed}, or the line be removed")
        text: Text | list[Text]
        if kind.is_list and isinstance(node, yaml.SequenceNode):
            text = [self._item(item, kind, key) for item in node.value]
        elif isinstance(node, yaml.ScalarNode) and not kind.is_list:
            text = self._fill_in(node, key)
        else:
            self._refuse(line, f"`{key}` is {_kind_of(node)}, but it must be {kind.allowed}")
        try:
            return kind.read(text)
        except (ValueError, KeyError):
            shown = text.shown if isinstance(text, Text) else ", ".join(item.shown for item in text) or "empty"
            quotes = ", without quotes" if isinstance(text, Text) and text.is_quoted else ""
            self._refuse(line, f"`{key}` is {_short(shown)}, but it must be {kind.allowed}{quotes}")

    def _item(self, node: yaml.Node, kind: Kind, key: str) -> Text:
        if not isinstance(node, yaml.ScalarNode) or _is_empty(node):
            # The likeliest mistake: {python} without quotes is a mapping in YAML.
            self._refuse(_line(node), f"`{key}` must be {kind.allowed}; put each item in quotes")
        return self._fill_in(node, key)

    def _fill_in(self, node: yaml.ScalarNode, key: str) -> Text:
        """Return the scalar's text, with the environment's values for `${VAR}`; `$${` is a plain `${`."""

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if not _VARIABLE_NAME.fullmatch(name) or not match[0].endswith("}"):
                self._refuse(_line(node), f"`{key}` has {_short(match[0])}, but a variable is written ${{NAME}}")
            self.variables.add(name)
            if name not in self.environment:
                self._refuse(_line(node), f"`{key}` needs the environment variable {name}, which is not set; set it")
            return self.environment[name]

        return Text(_VARIABLE.sub(replace, node.value), _as_written(node), is_quoted=node.style is not None)

    def _refuse(self, line: int, problem: str) -> NoReturn:
        raise ConfigurationError(f"{self.path}, line {line}: {problem}.")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_empty(node: yaml.ScalarNode) -> bool:
    return node.style is None and node.value.lower() in ("", "~", "null")


def _kind_of(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"the value {_short(node.value)}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section of keys"


def _as_written(node: yaml.ScalarNode) -> str:
    return f'"{node.value}"' if node.style else str(node.value)


def _short(text: str) -> str:
    text = text.encode("unicode_escape").decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(schema: Schema) -> str:
    return ", ".join(f"`{key}`" for key in schema)
