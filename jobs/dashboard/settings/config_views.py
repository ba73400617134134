"""The stored configs of an organization."""

from __future__ import annotations

import json
from typing import Any, NoReturn, cast

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, OuterRef, Subquery
from django.db.models.functions import Cast
from django.http import Http404, HttpResponse
from rest_framework import exceptions, serializers

from cloudtrain_site.api import MAX_JSON_DEPTH, TOO_DEEP, is_deeper_than
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.api.submission_serializers import ConfigField, keepable
from jobs.configs.known_keys import Finding
from jobs.configs.store import MaskedError, remove_config, store_config
from jobs.dashboard.form_pages import StaleError, stamp_of
from jobs.dashboard.job_config import masked_json
from jobs.dashboard.navigation import with_editor
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.models import TrainingConfig
from jobs.organizations.settings import FALLBACK_PROVIDER
from jobs.providers.inspection import findings_on
from jobs.roles import SUBMITTERS
from jobs.validators import NAME_LIMIT, plain_name

SECTION = "settings-configs"


class ConfigForm(forms.Form):
    """A config as JSON texts. `clean` puts the values that the API's body allows into `cleaned_data`."""

    name = forms.CharField(
        max_length=NAME_LIMIT,
        validators=[plain_name],
        help_text="Jobs load the config by this name.",
        widget=forms.TextInput(attrs={"class": "input"}),
    )
    config = forms.CharField(
        label="Config, as JSON", help_text="Secrets are shown as ***. A *** that you leave keeps its secret."
    )
    dataloader_config = forms.CharField(label="Dataloader config, as a JSON list", required=False)

    def clean(self) -> dict[str, Any]:
        """Read both texts as the API reads its body."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name, field in (("config", ConfigField()), ("dataloader_config", _dataloader_field())):
            value = self._read(name, cleaned.get(name))
            if name not in self.errors:
                self._check(name, field, value)
        return cleaned

    def _check(self, name: str, field: serializers.Field[Any, Any, Any, Any], value: Any) -> None:
        try:
            self.cleaned_data[name] = field.run_validation(value)
        except exceptions.ValidationError as error:
            self.add_error(name, [str(sentence) for sentence in cast(list[Any], error.detail)])

    def _read(self, name: str, text: str | None) -> Any:
        try:
            value = json.loads(text, parse_constant=_refuse_constant) if text else []
        except RecursionError:
            self.add_error(name, TOO_DEEP)
        except json.JSONDecodeError as error:
            self.add_error(name, f"This is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}.")
        except ValueError as error:
            self.add_error(name, f"This is not valid JSON: {error}.")
        else:
            if not is_deeper_than(MAX_JSON_DEPTH, value):
                return value
            self.add_error(name, TOO_DEEP)
        return None


def _dataloader_field() -> serializers.ListField:
    return serializers.ListField(validators=[keepable])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


@settings_page(SECTION, "GET", "HEAD")
def configs(page: SettingsPage) -> HttpResponse:
    """List the stored configs."""
    stored = page.organization.training_configs.defer("config", "dataloader_config", "sealed")
    # Who changed one without an account, an operator say, stands in the history alone.
    changes = AuditRecord.objects.filter(
        subject_kind=str(TrainingConfig._meta.verbose_name), subject_id=Cast(OuterRef("pk"), CharField())
    )
    configs = stored.select_related("updated_by").annotate(
        changer=Subquery(changes.order_by("-id").values("actor")[:1])
    )
    return page.render("settings/configs.html", {"configs": configs, "may_store": _may_store(page)})


@with_editor
@settings_page(SECTION)
def new_config(page: SettingsPage) -> HttpResponse:
    _require_submitter(page)
    return _edit(page, None)


@with_editor
@settings_page(SECTION)
def config(page: SettingsPage, config_id: int) -> HttpResponse:
    """Show a stored config, and change it."""
    if page.is_post:
        _require_submitter(page)
    return _edit(page, _find(page, config_id))


@settings_page(SECTION, "POST")
def delete_config(page: SettingsPage, config_id: int) -> HttpResponse:
    _require_submitter(page)
    found = _find(page, config_id)
    remove_config(found, by=page.user)
    return page.done(f"The config {found} was deleted. Existing jobs keep their configs.")


def _may_store(page: SettingsPage) -> bool:
    return page.role in SUBMITTERS


def _require_submitter(page: SettingsPage) -> None:
    if not _may_store(page):
        raise PermissionDenied(f"Viewers of {page.organization} can't change its configs.")


def _find(page: SettingsPage, config_id: int) -> TrainingConfig:
    found = page.organization.training_configs.filter(pk=config_id).select_related("updated_by").first()
    if found is None:
        raise Http404
    return found


def _edit(page: SettingsPage, stored: TrainingConfig | None) -> HttpResponse:
    form = ConfigForm(page.request.POST if page.is_post else None, initial=_texts(stored))
    if stored is not None:
        form.fields["name"].disabled = True  # a job that loads the config names it
    context: dict[str, Any] = {"form": form, "stored": stored, "stamp": stamp_of(_version(stored))}
    may_store = _may_store(page)
    context |= {"may_store": may_store, "is_read_only": not may_store, "findings": _findings_on(page, stored)}
    if not page.is_post or not form.is_valid():
        return _shown(page, context, status=400 if page.is_post else 200)
    try:
        return _stored(page, form.cleaned_data)
    except StaleError:
        return _shown(page, {**context, **_meanwhile(page, form.cleaned_data["name"])}, status=409)
    except MaskedError as error:
        form.add_error("config", str(error))
        return _shown(page, context, status=400)


def _findings_on(page: SettingsPage, stored: TrainingConfig | None) -> list[Finding]:
    """Return what looks like a mistake to the organization's own provider."""
    if stored is None:
        return []
    provider = page.organization.default_provider or FALLBACK_PROVIDER
    return findings_on(provider, stored.config, stored.dataloader_config)


def _shown(page: SettingsPage, context: dict[str, Any], *, status: int) -> HttpResponse:
    return page.render("settings/config.html", context, status=status)


def _texts(stored: TrainingConfig | None) -> dict[str, str]:
    if stored is None:
        return {}
    dataloader = masked_json(stored.dataloader_config) if stored.dataloader_config else ""
    return {"name": stored.name, "config": masked_json(stored.config), "dataloader_config": dataloader}


def _version(stored: TrainingConfig | None) -> str:
    """Return what the form's stamp is made of; "": nothing is stored."""
    return str(stored.updated_at) if stored else ""


def _stored(page: SettingsPage, values: dict[str, Any]) -> HttpResponse:
    """Store the config. Raises StaleError for one that was stored after the form was shown, and MaskedError."""
    with unit_of_work():
        own = page.organization.training_configs.filter(name=values["name"])
        page.check_stamp(_version(own.select_for_update().first()))
        names = ("name", "config", "dataloader_config")
        stored, is_new = store_config(page.user, page.organization, *(values[name] for name in names))
    return page.done(f"The config {stored} is {'stored' if is_new else 'changed'}.")


def _meanwhile(page: SettingsPage, name: str) -> dict[str, Any]:
    """Return what is stored by now under the form's name. The form's next stamp is that one's."""
    now = page.organization.training_configs.filter(name=name).select_related("updated_by").first()
    return {"stamp": stamp_of(_version(now)), "meanwhile": True, "now": now}
