"""The accounts application."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class AccountsConfig(AppConfig):
    """Users, businesses, memberships, keys, token issuers and the audit trail."""

    name = "accounts"
    verbose_name = "Accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import schema  # noqa: F401  (drf-spectacular finds extensions by import)
        from accounts.tenancy import raise_wall

        connection_created.connect(raise_wall, dispatch_uid="accounts.raise_wall")
