"""The tags of an organization: every member sees them, its admins change them."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse

from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import Tag
from jobs.models.tag import MAX_TAG_CHARACTERS
from jobs.organizations.tags import MAX_TAGS, add_tag, remove_tag, rename_tag, tags_of

SECTION = "settings-tags"


class TagForm(forms.Form):
    name = forms.CharField(
        max_length=MAX_TAG_CHARACTERS,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": "ablation"}),
    )


@settings_page(SECTION)
def tags(page: SettingsPage) -> HttpResponse:
    """List the tags, and add one."""
    form = TagForm(page.request.POST if page.is_post else None)
    if page.is_post:
        page.require_admin()
        if form.is_valid():
            try:
                tag = add_tag(page.organization, form.cleaned_data["name"], by=page.user)
            except ValidationError as error:
                form.add_error(None, error)
            else:
                return page.done(f"Tag {tag} added.")
    context = {"tags": tags_of(page.organization), "form": form, "most": MAX_TAGS}
    return page.render("settings/tags.html", context, status=400 if page.is_post else 200)


@settings_page(SECTION, "POST")
def rename(page: SettingsPage, tag_id: int) -> HttpResponse:
    page.require_admin()
    tag, form = _find(page, tag_id), TagForm(page.request.POST)
    if not form.is_valid():
        return page.refused(f"The tag {tag} keeps its name: a name has 1 to {MAX_TAG_CHARACTERS} characters.")
    former = tag.name
    try:
        rename_tag(tag, form.cleaned_data["name"], by=page.user)
    except ValidationError as error:
        return page.refused(f"The tag {former} keeps its name. {' '.join(error.messages)}")
    return page.done(f"The tag {former} is called {tag} now." if tag.name != former else f"The tag is called {tag}.")


@settings_page(SECTION, "POST")
def remove(page: SettingsPage, tag_id: int) -> HttpResponse:
    page.require_admin()
    tag = _find(page, tag_id)
    remove_tag(tag, by=page.user)
    return page.done(f"The tag {tag} was removed. Its jobs stay.")


def _find(page: SettingsPage, tag_id: int) -> Tag:
    tag = page.organization.tags.select_related("organization").filter(pk=tag_id).first()
    if tag is None:
        raise Http404
    return tag
