"""The jobs' checks of the configuration for `manage.py check`."""

from __future__ import annotations

from typing import Any

from django.core import checks

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.enterprise import get_enterprise_config
from jobs.configs.option_lists import OptionListError, read_list
from jobs.providers import get_provider


def check_prices(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report prices that the configuration file gives for hardware that its provider doesn't have."""
    try:
        declared = get_enterprise_config().instances
    except ConfigurationError:
        return []  # the file's own check reports it
    messages: list[checks.CheckMessage] = []
    for name, instance in declared.items():
        hardware = get_provider(name).hardware()
        messages += [
            checks.Warning(
                f"Provider {name} has a price for {profile}, but no such hardware.",
                hint=f"It has: {', '.join(hardware)}.",
                id="cloudtrain.W004",
            )
            for profile in instance.prices
            if profile not in hardware
        ]
    return messages


def check_option_lists(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report the operator's lists of options that can't be used."""
    try:
        added = get_enterprise_config().option_lists
    except ConfigurationError:
        return []  # the file's own check reports it
    messages: list[checks.CheckMessage] = []
    for name, path in added.items():
        try:
            read_list(name, path)
        except OptionListError as error:
            hint = "docs/known-keys.md describes the format. Without a list, configs are not checked."
            messages.append(checks.Error(f"option_lists.{name}: {error}", hint=hint, id="cloudtrain.E010"))
    return messages
