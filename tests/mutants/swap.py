"""A mutant, put into the module that was imported already."""

from __future__ import annotations

import ast
import inspect
import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tests.mutants.changes import Mutant


def change(module: ModuleType, source: str, mutant: Mutant) -> None:
    """Put the mutant's change into the imported module: into a function's code, or into a constant everywhere."""
    changed = mutant.apply(source)
    code = compile(changed, module.__name__, "exec", dont_inherit=True)
    path = mutant.function.split(".") if mutant.function else []
    found: Any = module
    for name in path:
        found, code = inspect.getattr_static(found, name), _inner(code, name)
        function = _function_of(found)
        if function is not None:
            function.__code__ = code
            return
    _change_constants(module, changed, mutant)


def _inner(code: CodeType, name: str) -> CodeType:
    return next(one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == name)


def _function_of(found: Any) -> FunctionType | None:
    """Return the function below its decorators."""
    for name in ("__func__", "fget", "func"):
        found = getattr(found, name, None) or found
    found = inspect.unwrap(found) if callable(found) else found
    return found if isinstance(found, FunctionType) else None


def _change_constants(module: ModuleType, changed: str, mutant: Mutant) -> None:
    statement = next(
        one for one in ast.parse(changed).body if one.lineno <= mutant.line_number <= (one.end_lineno or one.lineno)
    )
    assert isinstance(statement, ast.Assign), mutant
    names = [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    old = {name: getattr(module, name) for name in names}
    exec(compile(ast.Module([statement], []), module.__name__, "exec"), vars(module))
    for name in names:
        for other in list(sys.modules.values()):
            if getattr(other, "__dict__", {}).get(name) is old[name]:
                setattr(other, name, getattr(module, name))
        for function in filter(inspect.isfunction, vars(module).values()):
            defaults = function.__defaults__ or ()
            function.__defaults__ = (
                tuple(getattr(module, name) if one is old[name] else one for one in defaults) or None
            )
