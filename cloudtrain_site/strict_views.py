"""The views of the API: each refuses the query parameters that its methods don't declare."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from cloudtrain_site.api import StrictSerializer, checked, handler_of, query_of


class StrictView(APIView):
    """Refuses unknown query parameters by name, whatever the method: a misspelled one must not be taken for obeyed."""

    #: The values of the parameters that the method takes.
    query: dict[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        handler = handler_of(self, str(request.method))
        if handler is not None:  # or else the answer is 405
            self.query = self.read_query(request, query_of(handler))

    def read_query(self, request: Request, serializer: type[StrictSerializer]) -> dict[str, Any]:
        """Return the checked values. Raises ValidationError."""
        if serializer is StrictSerializer and not request.query_params:
            return {}  # it takes none, and there is none
        return checked(serializer, request.query_params)


class StrictViewSet(ViewSetMixin, StrictView):
    """The same with a method for each action."""
