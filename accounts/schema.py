"""How the credentials of accounts appear in the OpenAPI schema."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

Scheme = dict[str, str]


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys, in either of their two headers."""

    target_class = "accounts.authentication.KeyAuthentication"
    name = ["bearerKey", "headerKey"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[object]]]:
        """Either header, not both."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[Scheme]:
        description = "A key of a business (mia_pk_, mia_sk_, mia_ck_) or of a miner (mia_mk_)."
        return [
            {"type": "http", "scheme": "bearer", "description": description},
            {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": description},
        ]


class JwtScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tokens of a business's own dashboard."""

    target_class = "accounts.authentication.JwtAuthentication"
    name = "dashboardToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> Scheme:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "RS256, with exp, iat, aud, iss and organization_id, by an issuer of the business.",
        }


class StaffSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The admin's session cookie."""

    target_class = "accounts.authentication.StaffSessionAuthentication"
    name = "staffSession"

    def get_security_definition(self, auto_schema: AutoSchema) -> Scheme:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The cookie of the admin; changes need X-CSRFToken too.",
        }
