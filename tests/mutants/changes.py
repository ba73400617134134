"""The small changes that a test should notice: which of them a module's source allows."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: A filter that is dropped lets more rows through; a field that is dropped isn't written.
WITH_KEYWORDS = frozenset(
    ("filter", "exclude", "get", "update", "Q", "change_state", "move_all", "update_if", "alias", "create", "finish")
)
#: Links of a chain without which the rest still stands.
LINKS = frozenset(("filter", "exclude", "kept", "active", "order_by", "removeprefix", "strip", "rstrip", "lower"))
#: Their arguments change no decision.
SWITCHES = frozenset(("robust", "force_insert", "strict", "ensure_ascii", "flags", "compare", "repr"))
TRANSACTIONS = frozenset(("unit_of_work", "joined_unit", "atomic"))
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
COMPARISONS = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TEXTS = (ast.JoinedStr, ast.List, ast.Tuple, ast.Set)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
DECLARING = (*SCOPES, ast.AnnAssign)
LEAVING = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the bytes `start` to `end` of the source become `new`."""

    function: str
    line_number: int
    line: str
    start: int
    end: int
    old: str
    new: str

    @property
    def change(self) -> str:
        return f"{' '.join(self.old.split())} -> {' '.join(self.new.split())}"

    def apply(self, source: str) -> str:
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


def mutants_of(source: str) -> list[Mutant]:
    """Return every change of `source`, in its order, those alone that are Python still."""
    found = {(one.start, one.end, one.new): one for one in _Finder(source).found(ast.parse(source))}
    return sorted((one for one in found.values() if _compiles(one.apply(source))), key=lambda one: (one.start, one.new))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.lines = source.splitlines()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def found(self, node: ast.AST, function: str = "") -> Iterator[Mutant]:
        """Yield the changes of functions and of a module's constants. A class's own lines are declarations."""
        inner = f"{function}.{node.name}".lstrip(".") if isinstance(node, SCOPES) else function
        for place, new in _changes(node):
            yield self._mutant(place, new, inner)
        for child in _children(node):
            if _is_tried(node, child):
                yield from self.found(child, inner)

    def _mutant(self, place: ast.AST, new: str, function: str) -> Mutant:
        lineno, start, end = self._span(place)
        old = self.data[start:end].decode()
        return Mutant(function, lineno, self.lines[lineno - 1].strip(), start, end, old, new)

    def _span(self, place: ast.AST) -> tuple[int, int, int]:
        lineno: int = place.lineno  # type: ignore[attr-defined]
        start = self.starts[lineno - 1] + place.col_offset  # type: ignore[attr-defined]
        end = self.starts[place.end_lineno - 1] + place.end_col_offset  # type: ignore[attr-defined]
        if isinstance(place, ast.keyword):  # with its comma
            rest = self.data[end:]
            end += len(rest) - len(rest.lstrip(b", \n"))
        return lineno, start, end


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts that decide something: no declarations, words of a log or of a sentence."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "args", "decorator_list", "bases") and isinstance(node, DECLARING):
            continue
        if isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_switch = isinstance(child, ast.keyword) and child.arg in SWITCHES
            if isinstance(child, ast.AST) and not is_switch and not _is_log(child):
                yield child


def _is_tried(node: ast.AST, child: ast.AST) -> bool:
    if isinstance(node, ast.Module):
        return isinstance(child, (*SCOPES, ast.Assign))
    return not isinstance(node, ast.ClassDef) or isinstance(child, SCOPES)


def _is_log(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    return isinstance(node.value.func, ast.Attribute) and "logger" in ast.unparse(node.value.func.value)


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield parts of `node`, and what stands in their place in a mutant."""
    for kind, changes in _KINDS.items():
        if isinstance(node, kind):
            yield from changes(node)


def _of_condition(node: ast.If | ast.While | ast.IfExp) -> Iterator[tuple[ast.AST, str]]:
    if not isinstance(node.test, ast.UnaryOp | ast.Compare):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    if isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], LEAVING):
        yield node.test, "False"


def _of_comparison(node: ast.Compare) -> Iterator[tuple[ast.AST, str]]:
    if len(node.ops) == 1:
        left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
        yield node, f"({left} {COMPARISONS[type(node.ops[0])]} {right})"
        if isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            yield node, f"(not ({ast.unparse(node)}))"


def _of_bool_op(node: ast.BoolOp) -> Iterator[tuple[ast.AST, str]]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
    for place in range(len(node.values)):
        rest = [value for number, value in enumerate(node.values) if number != place]
        yield node, f"({ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))})"


def _of_unary_op(node: ast.UnaryOp) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node.op, ast.Not | ast.Invert):
        yield node, f"({ast.unparse(node.operand)})"


def _of_binary_op(node: ast.BinOp) -> Iterator[tuple[ast.AST, str]]:
    if type(node.op) in ARITHMETIC and not any(isinstance(side, TEXTS) for side in (node.left, node.right)):
        yield node, f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})"
    if isinstance(node.op, ast.BitOr | ast.BitAnd):
        other = ast.BitAnd() if isinstance(node.op, ast.BitOr) else ast.BitOr()
        yield node, f"({ast.unparse(ast.BinOp(node.left, other, node.right))})"


def _of_constant(node: ast.Constant) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node.value, int | float):
        yield node, str(node.value + 1)


def _of_call(node: ast.Call) -> Iterator[tuple[ast.AST, str]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if isinstance(node.func, ast.Name) and name in TWINS:
        yield node.func, TWINS[name]
    if isinstance(node.func, ast.Attribute) and name in LINKS:
        yield node, ast.unparse(node.func.value)
    for keyword in node.keywords:
        if name in WITH_KEYWORDS and keyword.arg not in (None, "actor", "source", "reason"):
            yield keyword, ""
        if keyword.arg == "only_if" and isinstance(keyword.value, ast.Dict):
            yield from _of_entries(keyword.value)


def _of_entries(node: ast.Dict) -> Iterator[tuple[ast.AST, str]]:
    for place in range(len(node.keys)):
        keys, values = [*node.keys], [*node.values]
        del keys[place], values[place]
        yield node, ast.unparse(ast.Dict(keys, values))


def _of_statement(node: ast.Expr) -> Iterator[tuple[ast.AST, str]]:
    value = node.value.value if isinstance(node.value, ast.Await) else node.value
    if isinstance(value, ast.Call):
        yield node, "pass"


def _of_comprehension(node: ast.comprehension) -> Iterator[tuple[ast.AST, str]]:
    for condition in node.ifs:
        yield condition, "True"


def _of_handler(node: ast.ExceptHandler) -> Iterator[tuple[ast.AST, str]]:
    first = node.body[0]
    if not isinstance(first, ast.Raise):
        yield first, "raise"


def _of_with(node: ast.With) -> Iterator[tuple[ast.AST, str]]:
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in TRANSACTIONS:
            yield call, '__import__("contextlib").nullcontext()'


_KINDS: dict[type | tuple[type, ...], Callable[[Any], Iterator[tuple[ast.AST, str]]]] = {
    (ast.If, ast.While, ast.IfExp): _of_condition,
    ast.Compare: _of_comparison,
    ast.BoolOp: _of_bool_op,
    ast.UnaryOp: _of_unary_op,
    ast.BinOp: _of_binary_op,
    ast.Constant: _of_constant,
    ast.Call: _of_call,
    ast.Expr: _of_statement,
    ast.comprehension: _of_comprehension,
    ast.ExceptHandler: _of_handler,
    ast.With: _of_with,
}
