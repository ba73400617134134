"""What is stored about a person, as one JSON document, written piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.http import StreamingHttpResponse

from cloudtrain_site.extensions import personal_data


def document(user: User) -> Iterator[str]:
    """Yield the document: an object with a list for each registered kind of data, and a line for each row."""
    encode = DjangoJSONEncoder(ensure_ascii=False, sort_keys=False).encode
    yield "{"
    for number, (name, rows_of) in enumerate(personal_data.items()):
        yield f"{',' if number else ''}\n{json.dumps(name)}: ["
        yield from _list(rows_of(user), encode)
        yield "]"
    yield "\n}\n"


def _list(rows: Iterable[Mapping[str, Any]], encode: Any) -> Iterator[str]:
    first = True
    for row in rows:
        yield f"{'' if first else ','}\n  {encode(row)}"
        first = False


def download(user: User) -> StreamingHttpResponse:
    """Return the document as a file, streamed."""
    response = StreamingHttpResponse(document(user), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="person-{user.pk}.json"'
    return response
