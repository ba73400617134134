"""Why a sign-in at the identity provider led nowhere."""

from __future__ import annotations


class SignOnError(Exception):
    """Nothing was made or changed. The message is a sentence for the person; `detail` is for the log alone."""

    def __init__(self, sentence: str, *, code: str, status_code: int = 403, detail: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.status_code = status_code
        self.detail = detail


class ProviderAwayError(SignOnError):
    """The identity provider can't be reached, or its answer can't be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "The identity provider returned an unexpected answer. Try again in a minute.",
            code="provider_unavailable",
            status_code=503,
            detail=detail,
        )


class TokenRefusedError(SignOnError):
    """The provider's token doesn't prove who signs in."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "The identity provider's answer could not be verified, so nobody was signed in. Try again.",
            code="token_refused",
            detail=detail,
        )
