"""How Django finds the chats app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatsConfig(AppConfig):
    """Bots, conversations and what is said in them."""

    name = "chats"
    verbose_name = _("Chats")

    def ready(self) -> None:
        from chats import receivers

        receivers.connect()
