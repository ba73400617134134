"""The rows of the admin's lists, which are stacked where there is no room for columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from cloudtrain_site.wording.values import isolated

register = template.Library()
register.filter(isolated)

#: Django writes a hyphen for what has no value.
EMPTY = re.compile(r"<t[dh][^>]*>\s*-?\s*</t[dh]>")


@register.filter
def named_plainly(formset_data: str, name: str) -> str:
    """Return what Django's script reads of a table, with its link "Add another membership" without the capital."""
    data = json.loads(formset_data)
    data["options"]["addText"] = f"Add another {name}"
    return json.dumps(data)


@register.simple_tag
def labelled(headers: list[Mapping[str, Any]], cells: Iterable[SafeString]) -> SafeString:
    """Return a row's cells, each with the name of its column, and a mark on those without a value."""
    further: Mapping[str, Any] = {}
    pairs = zip(chain(headers, repeat(further)), cells, strict=False)
    return mark_safe("".join(_labelled(header, cell) for header, cell in pairs))  # noqa: S308 - Django's own cells


def _labelled(header: Mapping[str, Any], cell: SafeString) -> str:
    tag, rest = cell[:3], cell[3:]
    role = "rowheader" if tag == "<th" else "cell"
    is_box = "action-checkbox" in header.get("class_attrib", "")
    label = "" if is_box else format_html(' data-label="{}"', capfirst(header.get("text", "")))
    empty = " data-empty" if EMPTY.fullmatch(cell) else ""
    return f'{tag} role="{role}"{label}{empty}{rest}'
