"""Moments in templates."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cloudtrain_site.wording.values import moment_in_words

register = template.Library()


@register.filter
def moment(at: datetime) -> SafeString:
    """Return the element that the pages' script writes in the reader's time zone.

    Django's `date` took half of a table with two moments in a row.
    """
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), moment_in_words(at))
