"""Where a text may not break into lines."""

from __future__ import annotations

import re

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

#: A number with its unit, or two of them; the name of hardware, such as gpu-a100-large.
WHOLE = re.compile(
    r"\d[\d.,]*[ \xa0](?:%|(?:d|h|min|s|[kKMGT]i?B|bytes)\b)(?: \d+ (?:h|min|s)\b)?"
    r"|(?<![\w-])(?=[a-z-]*\d)[a-z]\w*(?:-\w+)+(?![\w-])"
)
#: More letters may be wider than a phone.
LONGEST = 24


@register.filter
def whole(text: object) -> SafeString:
    """Return the text as HTML in which quantities and names of hardware stay on one line."""
    return mark_safe(WHOLE.sub(_wrapped, conditional_escape(str(text))))  # noqa: S308 - it is escaped


@register.filter
def path(text: object) -> SafeString:
    """Return the path as HTML that breaks after a slash."""
    return mark_safe(conditional_escape(str(text)).replace("/", "/<wbr>"))  # noqa: S308 - it is escaped


def _wrapped(match: re.Match[str]) -> str:
    piece = match[0]
    return f'<span class="whole">{piece}</span>' if len(piece) <= LONGEST else piece
