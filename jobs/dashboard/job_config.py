"""The tab of a job's config: coloured, folded, and with what differs from the run before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from cloudtrain_site.redaction import mask_secrets
from jobs.models import Job
from jobs.permissions import AnyUser, visible_jobs
from jobs.runs.changes import changes_between, settings_of, shown_change

#: A page shows a config's beginning; the whole one is a download.
PREVIEW_CHARACTERS = 100_000
#: A list or an object of more lines can be folded; it is folded at first in a document of more lines than that.
FOLDED_FROM_LINES = 8
LONG_DOCUMENT_LINES = 200
#: In one line of JSON: a text, with the colon behind a key; a number; a constant.
TOKENS = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*"?)(?P<colon>:)?|(?P<number>-?\d[\d.eE+-]*)|(?P<word>\b(?:true|false|null|NaN|Infinity)\b)'
)


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a document: a setting of many lines, which can be folded, or those between two of these."""

    lines: SafeString
    #: The first line of what can be folded, and how many come below it; empty and 0 for other lines.
    head: SafeString
    count: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A part of the job's submission as text, secrets masked."""

    label: str
    name: str
    address: str
    blocks: Sequence[Block]
    is_cut: bool
    is_long: bool
    size: int


def documents_of(job: Job) -> list[Document]:
    """Return the config and, if there is one, the dataloader config."""
    documents = [_document(job, "config", "Config", "job-config-file")]
    if job.dataloader_config:
        documents.append(_document(job, "dataloader_config", "Dataloader", "job-dataloader-file"))
    return documents


def masked_json(value: Any) -> str:
    return json.dumps(mask_secrets(value), indent=2, ensure_ascii=False)


def _document(job: Job, field: str, label: str, url_name: str) -> Document:
    text = masked_json(getattr(job, field))
    lines = text[:PREVIEW_CHARACTERS].split("\n")
    return Document(
        label=label,
        name=field,
        address=reverse(url_name, args=[job.pk]),
        blocks=list(blocks_of(lines)),
        is_cut=len(text) > PREVIEW_CHARACTERS,
        is_long=len(lines) > LONG_DOCUMENT_LINES,
        size=len(text.encode()),
    )


def blocks_of(lines: Sequence[str]) -> Iterator[Block]:
    """Yield the lines of indented JSON, coloured: those of long lists and objects at its top by themselves."""
    plain: list[str] = []
    number = 0
    while number < len(lines):
        end = _end_of_setting(lines, number)
        if end - number <= FOLDED_FROM_LINES:
            plain.extend(lines[number : end + 1])
        else:
            if plain:
                yield Block(coloured(plain), SafeString())
                plain = []
            yield Block(coloured(lines[number + 1 : end + 1]), coloured([lines[number]]), end - number)
        number = end + 1
    if plain:
        yield Block(coloured(plain), SafeString())


def _end_of_setting(lines: Sequence[str], number: int) -> int:
    """Return the last line of the setting at the document's top that begins in line `number`."""
    is_opened = lines[number].startswith("  ") and lines[number][2:3] not in (" ", "") and lines[number][-1] in "{["
    if not is_opened:
        return number
    return next((end for end in range(number + 1, len(lines)) if lines[end][:3] in ("  }", "  ]")), len(lines) - 1)


def coloured(lines: Sequence[str]) -> SafeString:
    """Return lines of JSON as HTML, with a class for each kind of value."""
    return mark_safe("\n".join(map(_coloured_line, lines)))  # noqa: S308 - each part is escaped


def _coloured_line(line: str) -> str:
    parts, place = [], 0
    for token in TOKENS.finditer(line):
        kind = "key" if token["colon"] else str(token.lastgroup)
        text = token[0].removesuffix(":") if kind == "key" else token[0]
        parts += [escape(line[place : token.start()]), f'<span class="json-{kind}">{escape(text)}</span>']
        place = token.start() + len(text)
    return "".join([*parts, escape(line[place:])])


def difference_from_earlier(job: Job, reader: AnyUser) -> dict[str, Any] | None:
    """Return the run before, and what differs from it; None: there is none that the reader may see.

    That is the job that it was made from, or else the last one of its name in its organization.
    """
    earlier = _earlier_run(job, reader)
    if earlier is None:
        return None
    found = changes_between(settings_of(earlier), settings_of(job))
    return {
        "earlier": earlier,
        "is_origin": earlier.pk in (job.parent_id, job.retry_of_id),
        "changes": [shown_change(item) for item in found["items"]],
        "more": found["total"] - len(found["items"]),
    }


def _earlier_run(job: Job, reader: AnyUser) -> Job | None:
    visible = visible_jobs(reader)
    if origin := job.parent_id or job.retry_of_id:
        return visible.filter(pk=origin).first()
    if job.organization_id is None:
        return None
    same = visible.filter(name_key=job.name_key, organization=job.organization_id, pk__lt=job.pk)
    return same.filter(config_name=job.config_name).order_by("-id").first()
