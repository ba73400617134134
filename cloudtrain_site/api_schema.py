"""What the OpenAPI generator can't see for itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from cloudtrain_site.api import KEY_HEADER


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Both headers that a key may come in."""

    target_class = "cloudtrain_site.api.KeyAuthentication"
    name = ["bearerKey", "headerKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """As the two names above."""
        return [{"type": "http", "scheme": "bearer"}, {"type": "apiKey", "in": "header", "name": KEY_HEADER}]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either will do."""
        return [{name: []} for name in self.name]
