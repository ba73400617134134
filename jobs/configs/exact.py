"""JSON whose numbers stay as they are written: 1e-4 and 1.0, which a float's own text would change. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Numeral(float):
    """A number with a point or an exponent, and its text in JSON."""

    text: str

    def __new__(cls, text: str) -> Numeral:
        """Return the number. Raises ValueError for a text that isn't one of JSON's."""
        if not JSON_NUMBER.fullmatch(text):
            raise ValueError(f"{text} is not a number in JSON")
        numeral = super().__new__(cls, text)
        numeral.text = text
        return numeral


def read_exact(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError, and RecursionError for one that is nested too deep."""
    return json.loads(text, parse_float=Numeral, parse_constant=_refuse_constant)


def written(value: Any, margin: str = "") -> str:
    """Return `value` as JSON in lines indented by two, each Numeral as it was written."""
    if isinstance(value, Numeral):
        return value.text
    inner = f"{margin}  "
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(key, ensure_ascii=False)}: {written(one, inner)}" for key, one in value.items()]
    elif isinstance(value, list) and value:
        items = [written(one, inner) for one in value]
    else:
        return json.dumps(value, ensure_ascii=False)
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(items) + f"\n{margin}{end}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
