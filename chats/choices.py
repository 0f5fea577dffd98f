"""The closed sets of chats."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Mode(models.TextChoices):
    """Who answers the visitor."""

    AI = "ai", _("AI")
    HUMAN = "human", _("Human")


class Status(models.TextChoices):
    """Where a conversation stands for the people who work the inbox."""

    OPEN = "open", _("Open")
    WAITING = "waiting", _("Waiting for a human")
    RESOLVED = "resolved", _("Resolved")


class Role(models.TextChoices):
    """Who wrote a chat log."""

    USER = "user", _("Visitor")
    ASSISTANT = "assistant", _("AI")
    AGENT = "agent", _("Agent")
    SYSTEM = "system", _("System")
    TOOL = "tool", _("Tool")


class Verdict(models.TextChoices):
    """What the visitor thought of an answer."""

    POSITIVE = "positive", _("Helpful")
    NEGATIVE = "negative", _("Not helpful")


class Position(models.TextChoices):
    """The corner of the page that the widget sits in."""

    LEFT = "left", _("Left")
    RIGHT = "right", _("Right")


class HandoffReason(models.TextChoices):
    """Why a conversation waits for a human."""

    VISITOR = "visitor", _("The visitor asked")
    AGENT = "agent", _("An agent took over")
    FAILURE = "failure", _("No answer could be produced")


class DeliveryState(models.TextChoices):
    """Where a webhook's message is."""

    PENDING = "pending", _("On its way")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Given up")
