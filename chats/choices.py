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


class PersonalDataTrust(models.IntegerChoices):
    """The least trust of every miner that may answer, at which personal data goes out as it is."""

    ANY = 0, _("Any miner: nothing is hidden")
    VERIFIED = 1, _("Verified miners")
    TRUSTED = 2, _("Trusted miners only")
    NOBODY = 9, _("No miner: always hidden")


class OffTopic(models.TextChoices):
    """What becomes of questions that are not a bot's business."""

    ALLOWED = "allowed", _("Let the model decide")
    BALANCED = "balanced", _("Refuse what is clearly something else")
    STRICT = "strict", _("Refuse what the bot was not taught")


class GuardKind(models.TextChoices):
    """Why something was not let pass."""

    INJECTION = "injection", _("Attack on the instructions")
    EXTRACTION = "extraction", _("Asked for the instructions")
    OFF_TOPIC = "off_topic", _("Another topic")
    UNTAUGHT = "untaught", _("Nothing taught about it")
    ABUSE = "abuse", _("Abuse")
    LEAK = "leak", _("Instructions in an answer")
    GUARDED = "guarded", _("Guarded words in an answer")


class GuardAction(models.TextChoices):
    """What was done about it."""

    REFUSED = "refused", _("Refused")
    STOPPED = "stopped", _("Stopped while written")
    REPLACED = "replaced", _("Answer replaced")
    BLOCKED = "blocked", _("Visitor kept out")


class ChannelKind(models.TextChoices):
    """Where a conversation takes place."""

    WIDGET = "widget", _("Website")
    EMAIL = "email", _("E-mail")
    TELEGRAM = "telegram", _("Telegram")


class ChannelStatus(models.TextChoices):
    """How a channel does."""

    NEW = "new", _("Not tried yet")
    WORKS = "works", _("Works")
    FAILING = "failing", _("Failing")


class MailSecurity(models.TextChoices):
    """How a mail server is spoken to."""

    TLS = "tls", _("TLS")
    STARTTLS = "starttls", _("STARTTLS")
    NONE = "none", _("None")


class Direction(models.TextChoices):
    """Which way a message went."""

    IN = "in", _("In")
    OUT = "out", _("Out")


class Delivery(models.TextChoices):
    """What became of a message."""

    WAITING = "waiting", _("Waiting")
    DONE = "done", _("Delivered")
    IGNORED = "ignored", _("Ignored")
    FAILED = "failed", _("Given up")


class Owner(models.TextChoices):
    """Whose turn it is in a conversation."""

    AI = "ai", _("AI")
    QUEUE = "queue", _("Waiting for a human")
    HUMAN = "human", _("Human")
    CLOSED = "closed", _("Resolved")


class TagColour(models.TextChoices):
    """How a tag looks."""

    GREY = "default", _("Grey")
    BLUE = "info", _("Blue")
    GREEN = "success", _("Green")
    AMBER = "warning", _("Amber")
    RED = "danger", _("Red")
