"""Reads a YAML file against a schema. Each error names file, line, key and the allowed values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.redaction import MASK, mask_text

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(bool|int|float|null|str|timestamp|map|seq|merge|value)")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BEFORE_HOST = re.compile(r"\S*@")


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

    @property
    def only_variable(self) -> str:
        """The variable that is the whole text; empty when there is more in it, or none."""
        match = _VARIABLE.fullmatch(self.shown)
        return match[1] or "" if match else ""


@dataclass(frozen=True)
class Kind:
    """The values of a key: `read` makes the value, or raises ValueError; `allowed` describes them."""

    allowed: str
    read: Callable[[Any], Any]
    is_list: bool = False
    is_required: bool = False
    #: Quotes around it make it another value.
    is_unquoted: bool = False
    #: It is one `${VAR}`; what is written instead is refused, and never shown.
    is_secret: bool = False
    #: The values that a typo may have meant.
    choices: Sequence[str] = ()


@dataclass(frozen=True)
class Variants:
    """A section whose `kind` says which other keys it may have."""

    schemas: Mapping[str, Schema]


@dataclass(frozen=True)
class Named:
    """A section whose keys are names that the operator chooses. It is read as a mapping, in the order of the file.

    `allowed` describes the names, and `content` what each holds. `fixed` are keys beside the names, read as elsewhere;
    `taken` are names that can't be chosen, each with the reason.
    """

    allowed: str
    pattern: re.Pattern[str]
    content: Kind | Schema | Variants
    fixed: Schema = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)
    is_required: bool = False


Schema: TypeAlias = "Mapping[str, Kind | Named | Schema]"
Pairs: TypeAlias = "list[tuple[yaml.Node, yaml.Node]]"


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
    #: Those of them that hold secrets.
    secret_variables: set[str] = field(default_factory=set)

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
            raise ConfigurationError(
                f"{self.path} is larger than {MAX_BYTES // 1024} KB, more than a configuration file may have."
            )
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self.refuse(line, "there is a byte that is not UTF-8; save the file as UTF-8")

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return _Loader(text).get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line if mark else 0
            rows = text.splitlines()
            indent = re.match(r"\s*", rows[line] if line < len(rows) else "")
            if indent and "\t" in indent[0]:
                self.refuse(line + 1, "a tab is used where only spaces are allowed; indent with spaces")
            problem = str(error.problem or error.context).removeprefix("but ")
            self.refuse(line + 1, f"this YAML is not supported: {problem}")
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            self.refuse(line, "there is a control character; remove it")

    def _walk(self, node: yaml.Node, schema: Schema, prefix: str, found: dict[str, ParsedValue]) -> None:
        lines: dict[str, int] = {}
        for key_node, value_node in self._pairs(node, _listed(schema), prefix):
            key = self._key(key_node, schema, prefix)
            self._note_line(lines, key, key_node, prefix)
            self._read(value_node, schema[key], prefix + key, lines[key], found)
        for key, expected in schema.items():
            if isinstance(expected, Kind | Named) and expected.is_required and key not in lines:
                verb = "be" if isinstance(expected, Kind) else "hold"
                self.refuse(_line(node), f"`{prefix}{key}` is missing: it must {verb} {expected.allowed}")

    def _pairs(self, node: yaml.Node, allowed: str, prefix: str) -> Pairs:
        if isinstance(node, yaml.ScalarNode) and _is_empty(node):
            return []  # a section whose keys are all commented out
        if not isinstance(node, yaml.MappingNode):
            what = f"`{prefix.rstrip('.')}`" if prefix else "the file"
            self.refuse(_line(node), f"{what} must hold {allowed}, each followed by a colon, not {_kind_of(node)}")
        pairs: Pairs = node.value
        return pairs

    def _note_line(self, lines: dict[str, int], key: str, node: yaml.Node, prefix: str) -> None:
        if key in lines:
            self.refuse(_line(node), f"`{prefix}{key}` is repeated; line {lines[key]} has it too")
        lines[key] = _line(node)

    def _read(
        self, node: yaml.Node, expected: Kind | Named | Schema, key: str, line: int, found: dict[str, ParsedValue]
    ) -> None:
        if isinstance(expected, Kind):
            found[key] = ParsedValue(self._value(node, expected, key), line)
        elif isinstance(expected, Named):
            found[key] = ParsedValue(self._named(node, expected, f"{key}.", found), line)
        else:
            self._walk(node, expected, f"{key}.", found)

    def _named(
        self, node: yaml.Node, section: Named, prefix: str, found: dict[str, ParsedValue]
    ) -> dict[str, ParsedValue]:
        """Return what each name holds, by name; the fixed keys go to `found`."""
        named: dict[str, ParsedValue] = {}
        lines: dict[str, int] = {}
        allowed = ", ".join(filter(None, (_listed(section.fixed), section.allowed)))
        for key_node, value_node in self._pairs(node, allowed, prefix):
            name = self._name(key_node, section, prefix)
            self._note_line(lines, name, key_node, prefix)
            if name in section.fixed:
                self._read(value_node, section.fixed[name], prefix + name, lines[name], found)
            else:
                named[name] = ParsedValue(self._content(value_node, section, prefix + name), lines[name])
        if section.is_required and not named:
            self.refuse(_line(node), f"`{prefix.rstrip('.')}` is empty, but it must hold {section.allowed}")
        return named

    def _name(self, node: yaml.Node, section: Named, prefix: str) -> str:
        name = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping as a key"
        if name in section.taken:
            self.refuse(_line(node), f"`{prefix}{name}` can't be chosen: {section.taken[name]}")
        if name not in section.fixed and not section.pattern.fullmatch(name):
            self.refuse(_line(node), f"`{prefix}{_short(name)}` is not an allowed name; allowed are {section.allowed}")
        return name

    def _content(self, node: yaml.Node, section: Named, key: str) -> Any:
        content = section.content
        if isinstance(content, Kind):
            return self._value(node, content, key)
        schema = self._variant(node, content, section, key) if isinstance(content, Variants) else content
        values: dict[str, ParsedValue] = {}
        self._walk(node, schema, f"{key}.", values)
        return {inner.removeprefix(f"{key}."): value for inner, value in values.items()}

    def _variant(self, node: yaml.Node, variants: Variants, section: Named, key: str) -> Schema:
        """Return the keys that the section's `kind` allows."""
        schemas, name = variants.schemas, key.rpartition(".")[2]
        kind = one_of(tuple(schemas))
        pairs = self._pairs(node, "`kind` and the keys of that kind", f"{key}.")
        values = [value for k, value in pairs if isinstance(k, yaml.ScalarNode) and k.value == "kind"]
        if not values:
            near = _near(name, section.fixed, key.removesuffix(name))
            self.refuse(_line(node), f"`{key}.kind` is missing: it must be {kind.allowed}{near}")
        return {"kind": kind, **schemas[self._value(values[0], kind, f"{key}.kind")]}

    def _key(self, node: yaml.Node, schema: Schema, prefix: str) -> str:
        key = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping as a key"
        if key not in schema:
            hint = _near(key, schema, prefix) or f"; allowed here: {_listed(schema)}"
            self.refuse(_line(node), f"unknown key `{prefix}{_short(key)}`{hint}")
        return key

    def _value(self, node: yaml.Node, kind: Kind, key: str) -> Any:
        line = _line(node)
        if not _STANDARD_TAG.fullmatch(node.tag):
            self.refuse(line, f"`{key}` has the tag {_short(node.tag)}, which is not supported; remove it")
        if isinstance(node, yaml.ScalarNode) and _is_empty(node):
            self.refuse(line, f"`{key}` has no value; it must be {kind.allowed}, or remove the line")
        text: Text | list[Text]
        if kind.is_list and isinstance(node, yaml.SequenceNode):
            text = [self._item(item, kind, key) for item in node.value]
        elif isinstance(node, yaml.ScalarNode) and not kind.is_list:
            text = self._fill_in(node, key) if not kind.is_secret else self._secret(node, kind, key)
        else:
            self.refuse(line, f"`{key}` is {_kind_of(node)}, but it must be {kind.allowed}")
        try:
            return kind.read(text)
        except (ValueError, KeyError):
            shown = text.shown if isinstance(text, Text) else ", ".join(item.shown for item in text) or "empty"
            quotes = ", without quotes" if isinstance(text, Text) and text.is_quoted and kind.is_unquoted else ""
            hint = quotes or _near(shown.strip('"'), kind.choices)
            self.refuse(line, f"`{key}` is {_short(shown)}, but it must be {kind.allowed}{hint}")

    def _secret(self, node: yaml.ScalarNode, kind: Kind, key: str) -> Text:
        name = Text("", node.value).only_variable
        if not name:
            self.refuse(_line(node), f"`{key}` is in plain text, but it must be {kind.allowed}")
        self.secret_variables.add(name)
        return self._fill_in(node, key)

    def _item(self, node: yaml.Node, kind: Kind, key: str) -> Text:
        if not isinstance(node, yaml.ScalarNode) or _is_empty(node):
            # The likeliest mistake: {python} without quotes is a mapping in YAML.
            self.refuse(_line(node), f"`{key}` must be {kind.allowed}; put each item in quotes")
        return self._fill_in(node, key)

    def _fill_in(self, node: yaml.ScalarNode, key: str) -> Text:
        """Return the scalar's text, with the environment's values for `${VAR}`; `$${` is a plain `${`."""

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if not _VARIABLE_NAME.fullmatch(name) or not match[0].endswith("}"):
                self.refuse(_line(node), f"`{key}` has {_short(match[0])}, but a variable is written ${{NAME}}")
            self.variables.add(name)
            if name not in self.environment:
                self.refuse(_line(node), f"`{key}` needs the environment variable {name}, which is not set; set it")
            return self.environment[name]

        return Text(_VARIABLE.sub(replace, node.value), _as_written(node), is_quoted=node.style is not None)

    def refuse(self, line: int, problem: str) -> NoReturn:
        """Raise ConfigurationError for a line of the file."""
        raise ConfigurationError(f"{self.path}, line {line}: {problem}{'' if problem.endswith('?') else '.'}")


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


def one_of(choices: Sequence[str], *, is_required: bool = False) -> Kind:
    """Accept one of `choices`."""
    allowed = f"one of {_listed(choices)}"
    return Kind(allowed, lambda text: choices[choices.index(text.value)], is_required=is_required, choices=choices)


def _short(text: str) -> str:
    """Return it for a message, without what stands before a host's name or looks like a secret."""
    text = mask_text(_BEFORE_HOST.sub(f"{MASK}@", text)).encode("unicode_escape").decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _near(name: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean `{prefix}{near[0]}`?" if near else ""


def _listed(schema: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in schema)
