"""A list of options from the source of a release of SimpleTuner.

The source is read and never run: it would want a GPU's libraries. Every field of SimpleTuner's registry is a call of
`ConfigField`. A field whose name is made while the program runs, and in no plain loop, is not found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FIELD, RULE = "ConfigField", "ValidationRule"
#: By the type of SimpleTuner's form field, the type in a list.
TYPES = {
    "TEXT": "string",
    "TEXTAREA": "string",
    "PASSWORD": "string",
    "FILE": "string",
    "NUMBER": "number",
    "SELECT": "choice",
    "MULTI_SELECT": "choice",
    "CHECKBOX": "boolean",
    "TEXT_JSON": "text_json",
}
#: By the kind of a rule, the name in a list, and which of two limits is the wider one.
LIMITS = {"MIN": ("minimum", min), "MAX": ("soft_maximum", max)}
MAX_SOURCE_BYTES = 5_000_000
Names = Mapping[str, ast.expr]
Option = dict[str, Any]


def options_of(folder: Path) -> dict[str, Option]:
    """Return the options of the release whose source is in `folder`, by name. Raises OSError and SyntaxError."""
    options: dict[str, Option] = {}
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= MAX_SOURCE_BYTES else ""
        if f"{FIELD}(" in text:
            for field, names in _fields_in(ast.parse(text, str(path)), {}):
                _add(options, field, names)
    return dict(sorted(options.items()))


def _fields_in(node: ast.AST, names: Names) -> Iterator[tuple[ast.Call, Names]]:
    """Yield the calls that make a field, each with what a loop around it gives to names: once for each turn."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == FIELD:
        yield node, names
        return
    turns = list(_turns(node, names)) if isinstance(node, ast.For) else [names]
    for turn in turns:
        for child in ast.iter_child_nodes(node):
            yield from _fields_in(child, turn)


def _turns(loop: ast.For, names: Names) -> Iterator[Names]:
    """Yield what the loop's own names stand for in each turn; without any where that can't be read."""
    targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
    if not isinstance(loop.iter, ast.List | ast.Tuple):
        yield names
        return
    for row in loop.iter.elts:
        values = row.elts if isinstance(row, ast.List | ast.Tuple) and len(targets) > 1 else [row]
        own = zip(targets, values, strict=False)
        yield {**names, **{name.id: value for name, value in own if isinstance(name, ast.Name)}}


def _add(options: dict[str, Option], field: ast.Call, names: Names) -> None:
    parts = {keyword.arg: keyword.value for keyword in field.keywords if keyword.arg}
    name = _text(parts.get("arg_name"), names) or _text(parts.get("name"), names)
    if not name:
        return
    option = _option(parts, names)
    full = _plain(name)
    options[full] = _merged(options[full], option) if full in options else option
    for alias in _value(parts.get("aliases"), names) or []:
        options.setdefault(_plain(alias), {"type": option["type"], "alias_of": full})


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _option(parts: Mapping[str, ast.expr], names: Names) -> Option:
    kind = parts.get("field_type")
    option: Option = {"type": TYPES.get(kind.attr, "string") if isinstance(kind, ast.Attribute) else "string"}
    if choices := _value(parts.get("choices"), names):
        option["choices"] = [one["value"] if isinstance(one, dict) else one for one in choices]
    default = _value(parts.get("default_value"), names)
    if default not in (None, ""):
        option["default"] = default
    rules = parts.get("validation_rules")
    for rule in rules.elts if isinstance(rules, ast.List | ast.Tuple) else []:
        _add_limit(option, rule, names)
    return option


def _add_limit(option: Option, rule: ast.expr, names: Names) -> None:
    if not (isinstance(rule, ast.Call) and isinstance(rule.func, ast.Name) and rule.func.id == RULE):
        return
    named = {keyword.arg: keyword.value for keyword in rule.keywords}
    kind = rule.args[0] if rule.args else named.get("rule_type")
    value = _value(rule.args[1] if len(rule.args) > 1 else named.get("value"), names)
    name = kind.attr if isinstance(kind, ast.Attribute) else ""
    if name in LIMITS and isinstance(value, int | float):
        option[LIMITS[name][0]] = value


def _merged(first: Option, second: Option) -> Option:
    """Return one option of two fields of the same name: with the wider limits, and the choices of both."""
    both = {**second, **first}
    for name, wider in LIMITS.values():
        if name in first and name in second:
            both[name] = wider(first[name], second[name])
        else:
            both.pop(name, None)
    if "choices" in both:
        both["choices"] = list(dict.fromkeys([*first.get("choices", []), *second.get("choices", [])]))
    return both


def _text(node: ast.expr | None, names: Names) -> str:
    value = _value(node, names)
    return value if isinstance(value, str) else ""


def _value(node: ast.expr | None, names: Names) -> Any:
    """Return the value that is written there; None where there is none, or where it has to be worked out."""
    if isinstance(node, ast.Name):
        return _value(names.get(node.id), {})
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
        texts = [_text(part, names) for part in parts]
        return "".join(texts) if all(texts) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left, names), _text(node.right, names)
        return left + right if left and right else None
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
