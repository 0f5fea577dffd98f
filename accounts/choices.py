"""The closed sets of accounts."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a member may do for a business; the table of rights is in accounts.permissions."""

    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Admin")
    AGENT = "agent", _("Agent")
    VIEWER = "viewer", _("Viewer")


class KeyKind(models.TextChoices):
    """Whose key it is; businesses hold the first three, a miner holds the last."""

    PUBLISHABLE = "publishable", _("Publishable (widget)")
    SECRET = "secret", _("Secret (business server)")
    CLIENT = "client", _("Client (API and idle jobs)")
    MINER = "miner", _("Miner")


class KeyScope(models.TextChoices):
    """What a secret key may be narrowed to."""

    CHAT = "chat", _("Chat: ask, read and follow conversations")
    KNOWLEDGE = "knowledge", _("Knowledge: sources, uploads, training")
    V1 = "v1", _("OpenAI's API under /v1")


BUSINESS_KEY_KINDS = (KeyKind.PUBLISHABLE, KeyKind.SECRET, KeyKind.CLIENT)


class TrustDemand(models.IntegerChoices):
    """The least trust a miner needs before it may read a business's words; values equal miners.choices.Trust."""

    ANY = 0, _("Any miner, even on probation")
    VERIFIED = 1, _("Verified miners")
    TRUSTED = 2, _("Trusted miners only")


class AuditAction(models.TextChoices):
    """What happened to the target of an audit entry."""

    CREATED = "created", _("Created")
    CHANGED = "changed", _("Changed")
    DELETED = "deleted", _("Deleted")
    REVOKED = "revoked", _("Revoked")
    INVITED = "invited", _("Invited")
    JOINED = "joined", _("Joined")
    ERASED = "erased", _("Erased")
    PERFORMED = "performed", _("Performed")
