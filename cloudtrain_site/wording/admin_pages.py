"""The values of Django's admin, in the words and the figures of the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar, cast

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from cloudtrain_site.wording.values import day_in_words, in_words, isolated, moment_on_page, money, with_moments

M = TypeVar("M", bound=models.Model)
Show = Callable[[Any], Any]
NOTHING = "-"


def amount(value: Any) -> SafeString:
    return format_html('<span class="figure">{}</span>', money(value))


def filled_in_words(value: Any) -> str:
    return NOTHING if value in ([], {}, ()) else with_moments(in_words(value))


def linked(target: models.Model) -> SafeString:
    """Return the name of a row with a link to its page, as Django's read-only pages have it, but isolated."""
    try:
        page = reverse(f"admin:{target._meta.app_label}_{target._meta.model_name}_change", args=[quote(target.pk)])
    except NoReverseMatch:
        return isolated(target)
    return format_html('<a href="{}">{}</a>', page, isolated(target))


#: By the class of a field; the first that fits.
BY_KIND: Mapping[type[models.Field[Any, Any]], Show] = {
    models.DateTimeField: moment_on_page,
    models.DateField: day_in_words,
    models.DecimalField: amount,
    models.JSONField: filled_in_words,
}


class PlainValues(BaseModelAdmin[M], Generic[M]):
    """Shows a model's columns as the dashboard does, wherever they can't be edited."""

    #: What to show of a column's value, where its kind doesn't say.
    shown: ClassVar[Mapping[str, Show]] = {}
    #: What a column is called, where its name doesn't say.
    labels: ClassVar[Mapping[str, str]] = {}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return them twice where they are shown in words: Django leaves those out of the form by their names."""
        names = super().get_readonly_fields(request, obj)
        return list(dict.fromkeys([*names, *map(self._plain_or_linked, names)]))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.plain_fieldsets(super().get_fieldsets(request, obj), request, obj)

    def plain_fieldsets(self, fieldsets: Any, request: HttpRequest, obj: Any) -> Any:
        """Return the page's groups; what can be edited stays as it is."""
        is_editable = obj is None or self.has_change_permission(request, obj)
        readonly = self.get_readonly_fields(request, obj)
        read = set(readonly) if is_editable else None
        return [
            (title, {**options, "fields": list(dict.fromkeys(self._plain_line(options["fields"], read)))})
            for title, options in fieldsets
        ]

    def _plain_line(self, line: Any, read: set[Any] | None) -> Any:
        if isinstance(line, list | tuple):
            return tuple(self._plain_line(one, read) for one in line)
        return self._plain_or_linked(line) if read is None or line in read else line

    def _plain_or_linked(self, name: Any) -> Any:
        """Return what stands for a field on a page. In a list Django joins the table of a relation by its own name."""
        is_relation = name in {field.name for field in self.opts.fields if isinstance(field, models.ForeignKey)}
        if is_relation and name not in self.shown and not hasattr(self, name):
            return _column(self.opts.get_field(name), self.labels.get(name), linked)
        return self._plain(name)

    def _plain(self, name: Any) -> Any:
        if not isinstance(name, str) or hasattr(self, name):
            return name
        try:
            field = self.opts.get_field(name)
        except FieldDoesNotExist:
            return name
        label, show = self.labels.get(name), self.shown.get(name)
        if show is None and not getattr(field, "choices", None):
            show = next((show for kind, show in BY_KIND.items() if isinstance(field, kind)), None)
        return name if show is None and label is None else _column(field, label, show)


class QuickList(ChangeList):
    """A list whose rows lead back to its filters as Django's do, which resolves each row's address for that."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.filters_kept, self.preserved_filters = self.preserved_filters, ""

    def url_for_result(self, result: Any) -> str:
        address = super().url_for_result(result)
        return f"{address}?{self.filters_kept}" if self.filters_kept else address


class PlainPages(PlainValues[M], admin.ModelAdmin[M], Generic[M]):
    """The same for lists, which are called by what they list."""

    #: What will appear in the list, for who finds it empty.
    why_nothing = ""
    #: What no column shows: the order of the list, or what it leaves out.
    about = ""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [self._plain(name) for name in super().get_list_display(request)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QuickList

    def action_checkbox(self, obj: M) -> SafeString:
        """Return Django's box, whose templates take a tenth of a list."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            obj.pk,
            f"Select this object for an action - {obj}",
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = capfirst(str(self.opts.verbose_name_plural))
        context = {"title": title, "about_list": self.about_list(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def about_list(self, request: HttpRequest) -> str:
        """Return what stands above the list; empty: nothing."""
        return self.about


@cache
def _column(field: Any, label: str | None, show: Show | None) -> Callable[[Any], Any]:
    """Return the column of `field`. The same one each time: Django looks whether a list can be sorted by it."""

    def column(row: Any) -> Any:
        if show is None:
            return _as_django(row, field)
        value = getattr(row, field.name)
        return NOTHING if value in (None, "") else show(value)

    column.__name__ = field.name
    return cast(
        Callable[[Any], Any],
        admin.display(
            description=label or str(field.verbose_name),
            ordering=field.name,
            boolean=isinstance(field, models.BooleanField) or None,
        )(column),
    )


def _as_django(row: Any, field: Any) -> Any:
    value = getattr(row, f"get_{field.name}_display")() if field.choices else getattr(row, field.name)
    return value if isinstance(field, models.BooleanField) or value not in (None, "") else NOTHING
