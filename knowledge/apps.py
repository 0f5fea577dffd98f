"""How Django finds the knowledge app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class KnowledgeConfig(AppConfig):
    """What businesses have taught their bots, and how it is found again."""

    name = "knowledge"
    verbose_name = _("Knowledge")

    def ready(self) -> None:
        """Listens to the network, and registers the system checks."""
        from knowledge import checks, receivers

        receivers.connect()
        checks.register_checks()
