"""Reads the body of a creation as strictly as Replicate does, and says what is wrong with it in the same words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from examples.fake_replicate.catalog import Model
from examples.fake_replicate.predictions import Prediction
from examples.fake_replicate.problems import invalid_fields, invalid_version

ALLOWED = ("version", "input", "webhook", "webhook_events_filter", "webhook_completed", "stream")
EVENTS = ("start", "output", "logs", "completed")
HEX = re.compile(r"[0-9a-f]{64}")
REDACTED = "[REDACTED]"
KINDS: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "boolean": (bool,), "object": (dict,)}
NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}

Wrong = tuple[str, str, str]


def read_creation(body: object, models: Mapping[str, Model]) -> Prediction:
    """The prediction that `body` asks for. Raises a ProblemError when it can't be made."""
    if not isinstance(body, dict):
        raise invalid_fields(_wrong_type("", "object", body))
    wrong = [*_unknown(body), *_missing(body), *_wrong_values(body)]
    if wrong:
        raise invalid_fields(*wrong)
    model, version = find_version(str(body["version"]), models)
    inputs: dict[str, Any] = body["input"]
    wrong = _wrong_inputs(model, inputs)
    if wrong:
        raise invalid_fields(*wrong)
    # An older way to ask for a webhook, of which the official client still knows.
    only_end = "webhook" not in body and "webhook_completed" in body
    return Prediction(
        model=model.full_name,
        version="hidden" if model.official else version,
        input=shown_input(model, inputs),
        inputs=inputs,
        webhook=body.get("webhook") or body.get("webhook_completed"),
        webhook_events_filter=body.get("webhook_events_filter") or (["completed"] if only_end else None),
    )


def find_version(text: str, models: Mapping[str, Model]) -> tuple[Model, str]:
    """The model and the version of `hex`, `owner/name:hex`, or of an official `owner/name`. Raises a 422."""
    name, _, version = text.rpartition(":") if ":" in text else ("", "", text)
    if HEX.fullmatch(version):
        for model in models.values():
            if version in model.versions and name in ("", model.full_name):
                return model, version
    elif version in models and models[version].official:
        return models[version], models[version].versions[0]
    raise invalid_version()


def shown_input(model: Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What is echoed of an input: nothing that the model doesn't declare, and no secret."""
    declared = {key: value for key, value in inputs.items() if key in model.inputs}
    return {key: REDACTED if model.inputs[key].get("x-cog-secret") else value for key, value in declared.items()}


def _unknown(body: Mapping[str, Any]) -> list[Wrong]:
    return [
        ("additional_property_not_allowed", "", f"Additional property {key} is not allowed")
        for key in body
        if key not in ALLOWED
    ]


def _missing(body: Mapping[str, Any]) -> list[Wrong]:
    return [("required", "", f"{key} is required") for key in ("version", "input") if key not in body]


def _wrong_values(body: Mapping[str, Any]) -> list[Wrong]:
    found = []
    for key, kind in (
        ("version", "string"),
        ("input", "object"),
        ("webhook", "string"),
        ("webhook_completed", "string"),
    ):
        if key in body and not isinstance(body[key], KINDS[kind]):
            found.append(_wrong_type(key, kind, body[key]))
    if isinstance(body.get("webhook"), str) and urlsplit(body["webhook"]).scheme not in ("http", "https"):
        found.append(("format", "webhook", "Does not match format 'uri'"))
    return found + _wrong_events(body.get("webhook_events_filter", []))


def _wrong_events(events: object) -> list[Wrong]:
    if not isinstance(events, list):
        return [_wrong_type("webhook_events_filter", "array", events)]
    must = ", ".join(f'"{event}"' for event in EVENTS)
    return [
        ("enum", f"webhook_events_filter.{index}", f"webhook_events_filter.{index} must be one of: {must}")
        for index, event in enumerate(events)
        if event not in EVENTS
    ]


def _wrong_inputs(model: Model, inputs: Mapping[str, Any]) -> list[Wrong]:
    found: list[Wrong] = [("required", "input", f"{key} is required") for key in model.required if key not in inputs]
    for key, schema in model.inputs.items():
        if key not in inputs:
            continue
        value, field = inputs[key], f"input.{key}"
        if not isinstance(value, KINDS[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
            found.append(_wrong_type(field, schema["type"], value))
        elif "minimum" in schema and value < schema["minimum"]:
            found.append(("number_gte", field, f"Must be greater than or equal to {schema['minimum']}"))
    return found


def _wrong_type(field: str, expected: str, value: object) -> Wrong:
    return "invalid_type", field, f"Invalid type. Expected: {expected}, given: {NAMES.get(type(value), 'null')}"
