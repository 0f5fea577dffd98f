"""What agents keep about conversations: who owned them when, notes, tags, replies for common questions."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel, TenantQuerySet
from chats.choices import Owner, TagColour
from chats.limits import MAX_MESSAGE_CHARS
from chats.models.conversations import Conversation
from mia.lib.models import TimestampedModel


class OwnershipChange(TenantModel):
    """One step of a conversation between the AI, the queue, a human and its end; written with the step itself."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="ownership_changes")
    from_owner = models.CharField(_("from"), max_length=6, choices=Owner.choices)
    to_owner = models.CharField(_("to"), max_length=6, choices=Owner.choices)
    reason = models.CharField(_("why"), max_length=20, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    at = models.DateTimeField(_("when"), default=timezone.now, editable=False)

    objects = TenantQuerySet["OwnershipChange"].as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                name="ownership_change_owners_are_known",
                condition=Q(from_owner__in=Owner.values, to_owner__in=Owner.values),
            ),
            models.CheckConstraint(
                name="ownership_change_changes_something", condition=~Q(from_owner=models.F("to_owner"))
            ),
        ]
        indexes = [
            models.Index(fields=["conversation", "id"], name="ownership_change_in_order"),
            models.Index(fields=["business", "at"], name="ownership_change_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.from_owner} → {self.to_owner}"


class Note(TenantModel):
    """What an agent writes down for colleagues; the visitor and the models never read it."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="notes")
    text = models.TextField(_("note"), max_length=MAX_MESSAGE_CHARS)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    author_name = models.CharField(_("written by"), max_length=150, blank=True)
    created_at = models.DateTimeField(_("written"), default=timezone.now, editable=False)

    objects = TenantQuerySet["Note"].as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["conversation", "-id"], name="note_of_a_conversation")]

    def __str__(self) -> str:
        return self.text[:60]


class Tag(TenantModel):
    """A word by which conversations are sorted."""

    name = models.CharField(_("name"), max_length=40)
    colour = models.CharField(_("colour"), max_length=7, choices=TagColour.choices, default=TagColour.GREY)

    objects = TenantQuerySet["Tag"].as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["business", "name"], name="tag_is_named_once_per_business"),
            models.CheckConstraint(name="tag_colour_is_known", condition=Q(colour__in=TagColour.values)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def tone(self) -> str:
        """As the admin's chips are coloured."""
        return {"success": "good", "warning": "warn", "danger": "bad", "info": "info"}.get(self.colour, "")


class ConversationTag(TenantModel):
    """A tag on a conversation."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="tagged")
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="tagged")

    objects = TenantQuerySet["ConversationTag"].as_manager()

    class Meta:
        ordering = ["tag__name"]
        constraints = [
            models.UniqueConstraint(fields=["business", "conversation", "tag"], name="tag_is_once_on_a_conversation")
        ]

    def __str__(self) -> str:
        return str(self.tag)


class CannedReply(TenantModel, TimestampedModel):
    """Words for a question that comes again and again, put in by "/" and a shortcut."""

    shortcut = models.CharField(
        _("shortcut"),
        max_length=32,
        validators=[RegexValidator(r"^[a-z0-9_-]+\Z", _("Small letters, digits, _ and - only."))],
        help_text=_("Without the /, such as hours."),
    )
    title = models.CharField(_("title"), max_length=80)
    text = models.TextField(
        _("reply"),
        max_length=MAX_MESSAGE_CHARS,
        help_text=_("{visitor} and {agent} become the names of the two, where they are known."),
    )

    objects = TenantQuerySet["CannedReply"].as_manager()

    class Meta:
        ordering = ["shortcut"]
        verbose_name = _("canned reply")
        verbose_name_plural = _("canned replies")
        constraints = [
            models.UniqueConstraint(fields=["business", "shortcut"], name="canned_reply_shortcut_is_used_once")
        ]

    def __str__(self) -> str:
        return f"/{self.shortcut} {self.title}"
