"""What SimpleTuner's command line asks for and has no answer here: a sentence names our way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import Http404
from django.urls import URLPattern, path, register_converter
from django.urls.converters import PathConverter
from rest_framework.request import Request

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer
from cloudtrain_site.errors import ExpectedError
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictView

#: In the schema, behind all others: programs of one's own have better addresses.
SIMPLETUNER = "SimpleTuner"


class NotHereError(ExpectedError):
    """This site has no such thing. `detail` says what to use instead."""

    status_code = 501
    default_code = "not_here"


class CompatibleView(StrictView):
    """A view of an address that only SimpleTuner's command line asks for."""

    schema_tag = SIMPLETUNER


class TailConverter(PathConverter):
    """All that follows, be it nothing."""

    regex = ".*"


register_converter(TailConverter, "tail")


class Elsewhere(CompatibleView):
    """Answers whoever is signed in with the sentence of the first word that the rest of the address has."""

    schema = None  # docs/simpletuner.md lists them, each with its command
    sentences: Mapping[str, str] = {}

    def read_query(self, request: Request, serializer: type[StrictSerializer]) -> dict[str, Any]:
        """Read nothing: the sentence says more than a refused parameter."""
        return {}

    def get(self, request: Request, rest: str = "", **kwargs: Any) -> NoReturn:
        """Raises NotHereError, or Http404."""
        sentence = next((text for word, text in self.sentences.items() if word in rest), None)
        if sentence is None:
            raise Http404
        raise NotHereError(sentence)

    @needs(Scope.ADMINISTER)
    def post(self, request: Request, rest: str = "", **kwargs: Any) -> NoReturn:
        """Raises NotHereError, or Http404."""
        self.get(request, rest)

    put = patch = delete = post


def elsewhere(address: str, name: str, sentence: str | Mapping[str, str]) -> URLPattern:
    """Return the pattern of an address, and of those below it, that answers with the sentence, or with one by words."""
    sentences = {"": sentence} if isinstance(sentence, str) else sentence
    return path(f"{address}<tail:rest>", Elsewhere.as_view(sentences=sentences), name=f"elsewhere-{name}")
