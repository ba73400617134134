"""How django-allauth keeps second factors here: their secrets are sealed."""

from __future__ import annotations

from allauth.mfa.adapter import DefaultMFAAdapter

from cloudtrain_site.encryption import open_sealed, seal


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    def encrypt(self, text: str) -> str:
        return seal([((), text)])

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret. Raises SecretsLostError when SECRET_KEY was changed without a fallback."""
        [(_, text)] = open_sealed(encrypted_text)
        return str(text)

    def generate_authenticator_name(self, *args: object) -> str:
        return "Passkey"
