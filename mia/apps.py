"""The project's own app, and the admin's."""

from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class MiaConfig(AppConfig):
    """The wiring: system checks and management commands."""

    name = "mia"
    verbose_name = "MIA"

    def ready(self) -> None:
        import_module("mia.checks")  # Registers them.


class MiaAdminConfig(AdminConfig):
    """Django's admin with our site in the default site's place."""

    default_site = "mia.admin.MiaAdminSite"
