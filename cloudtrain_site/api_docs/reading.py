"""What the page shows of the schema: sections in the order of need, and an example of each operation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.utils.text import slugify
from drf_spectacular.generators import SchemaGenerator

from cloudtrain_site.compatibility.elsewhere import SIMPLETUNER

Schema = Mapping[str, Any]

#: The sections, by the beginning of their paths; the first that fits.
SECTIONS = {
    "Jobs": ("/api/cloud/jobs", "/api/cloud/tags"),
    "Queue": ("/api/queue",),
    "Approvals": ("/api/approvals",),
    "Configs": ("/api/configs",),
    "Uploads": ("/api/cloud/uploads",),
    "Providers": ("/api/cloud/providers",),
    "Costs and metrics": ("/api/cloud/costs", "/api/cloud/ledger", "/api/cloud/metrics", "/api/cloud/budgets"),
    "Organizations": ("/api/organizations",),
    "Account and keys": ("/api/account",),
    "Notices": ("/api/notices",),
    "Others": ("/",),
    SIMPLETUNER: (),
}
#: Bodies that say more than a made-up one would.
BODIES: dict[str, dict[str, Any]] = {
    "/api/cloud/jobs/submit": {"config": {"model_family": "sdxl", "max_train_steps": 100}, "config_name": "my-run"},
}
_BY_TYPE: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    kind: str
    is_required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body: list[Field]
    #: By status, with what each means.
    answers: list[tuple[str, str]]
    example: str

    @property
    def anchor(self) -> str:
        return slugify(f"{self.method} {self.path}".replace("/", " "))


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    operations: list[Operation] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return slugify(self.title)


@cache
def sections() -> list[Section]:
    """Return the sections that have operations. Generated once: the schema stays as it is while a process runs."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    found = {title: Section(title) for title in SECTIONS}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            title = SIMPLETUNER if SIMPLETUNER in operation["tags"] else _title_of(path)
            found[title].operations.append(_operation(schema, method.upper(), path, operation))
    return [section for section in found.values() if section.operations]


def _title_of(path: str) -> str:
    return next(title for title, prefixes in SECTIONS.items() if path.startswith(prefixes))


def _operation(schema: Schema, method: str, path: str, operation: Schema) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    kind = next(iter(content), "")
    body = _resolved(schema, content[kind].get("schema", {})) if kind else {}
    return Operation(
        method,
        path,
        operation.get("summary", ""),
        operation.get("description", ""),
        [
            Field(one["name"], _kind(schema, one["schema"]), bool(one.get("required")), one.get("description", ""))
            for one in operation.get("parameters", ())
        ],
        list(_fields(schema, body)),
        [(status, answer.get("description", "")) for status, answer in operation["responses"].items()],
        _example(schema, method, path, kind, body),
    )


def _resolved(schema: Schema, part: Schema) -> Schema:
    while "$ref" in part or "allOf" in part or "oneOf" in part:
        chosen = part if "$ref" in part else next(iter(part.get("allOf") or part["oneOf"]))
        if "$ref" not in chosen:
            return dict(chosen)
        part = schema["components"]["schemas"][chosen["$ref"].rpartition("/")[2]]
    return part


def _fields(schema: Schema, body: Schema) -> Iterator[Field]:
    for name, part in body.get("properties", {}).items():
        text = part.get("description") or _resolved(schema, part).get("description", "")
        yield Field(name, _kind(schema, part), name in body.get("required", ()), text)


def _kind(schema: Schema, part: Schema) -> str:
    part = _resolved(schema, part)
    if choices := [str(choice) for choice in part.get("enum", ()) if choice not in ("", None)]:
        return " | ".join(choices)
    return str(part.get("type", "any"))


def _example(schema: Schema, method: str, path: str, kind: str, body: Schema) -> str:
    """Return a curl command; what it needs of the caller is in variables of the shell."""
    address = path.replace("{", "$").replace("}", "")
    for name in {part[1:] for part in address.split("/") if part.startswith("$")}:
        address = address.replace(f"${name}", f"${name.upper()}")
    lines = [f'curl "$CLOUDTRAIN_URL{address}"', '-H "Authorization: Bearer $CLOUDTRAIN_API_KEY"']
    if method != "GET":
        lines[0] = f'curl -X {method} "$CLOUDTRAIN_URL{address}"'
    if "json" in kind:
        required = body.get("required") or list(body.get("properties", {}))[:1]
        made = {name: _value(schema, body["properties"][name]) for name in required if name in body["properties"]}
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(BODIES.get(path, made))}'"]
    elif kind:
        lines.append('-F "file=@dataset.zip"')
    return " \\\n  ".join(lines)


def _value(schema: Schema, part: Schema) -> Any:
    part = _resolved(schema, part)
    choices = [choice for choice in part.get("enum", ()) if choice not in ("", None)]
    if choices:
        return choices[0]
    return _BY_TYPE.get(part.get("type", ""), "example")
