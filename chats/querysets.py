"""Which rows of the chats tables."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.db import connection, models
from django.db.models import Q

from accounts.tenancy import TenantQuerySet
from chats.choices import Delivery, GuardAction, GuardKind, Role
from mia.lib import rows

if TYPE_CHECKING:
    from chats.models import Conversation

TOPIC_NAME = "conversation"
CLAIM_SQL = """
INSERT INTO chats_idempotencyrecord (business_id, principal, key, request_hash, status, response, created_at)
VALUES (%s, %s, %s, %s, 0, '{}', %s)
ON CONFLICT DO NOTHING
RETURNING id
"""


class BotQuerySet(TenantQuerySet):
    """Bots."""

    def active(self) -> Self:
        return self.filter(is_active=True)

    def default_first(self) -> Self:
        return self.order_by("-is_default", "id")


class ConversationQuerySet(TenantQuerySet):
    """Conversations."""

    def known_as(self, identifier: str) -> Self:
        """By our id, or by the one that the business's own dashboard gave."""
        try:
            return self.filter(Q(public_id=UUID(identifier)) | Q(external_id=identifier))
        except ValueError:
            return self.filter(external_id=identifier)

    def on_topic(self, topic: str) -> Self:
        """The conversation whose events go to this topic."""
        public_id = _id_in(topic)
        return self.none() if public_id is None else self.filter(public_id=public_id)


def conversation_of(business_id: int, topic: str) -> Conversation | None:
    """The business's conversation whose events go to this topic, by a statement that is compiled once."""
    from chats.models import Conversation

    public_id = _id_in(topic)
    return None if public_id is None else rows.find(Conversation, public_id=public_id, business_id=business_id)


def _id_in(topic: str) -> UUID | None:
    name, _, public_id = topic.partition(":")
    try:
        return UUID(public_id) if name == TOPIC_NAME else None
    except ValueError:
        return None


class ChatLogQuerySet(TenantQuerySet):
    """Chat logs."""

    def latest(self, limit: int) -> Self:  # type: ignore[override]
        """The newest rows, newest first."""
        return self.order_by("-id")[:limit]

    def answers(self) -> Self:
        return self.filter(role=Role.ASSISTANT)

    def not_refused(self, conversation: Conversation) -> Self:
        """Without questions that the guardrails turned down, and what was said to them."""
        refused = conversation.guardrail_events.exclude(job_id=None).exclude(kind=GuardKind.UNTAUGHT)
        return self.exclude(job_id__in=refused.order_by().values("job_id"))


class AgentSeatQuerySet(TenantQuerySet):
    """Seats of agents."""

    def fresh(self, since: datetime) -> Self:
        return self.filter(seen_at__gte=since)


class IdempotencyQuerySet(TenantQuerySet):
    """Remembered replies."""

    def older_than(self, moment: datetime) -> Self:
        return self.filter(created_at__lt=moment)

    def claim(self, *, business_id: int, principal: str, key: str, request_hash: str, now: datetime) -> int | None:
        """The id of a new record, or None when the key is taken.

        While another transaction is writing the same key this waits for its end, so that of concurrent duplicates
        one goes on and the rest find its reply.
        """
        with connection.cursor() as cursor:
            cursor.execute(CLAIM_SQL, [business_id, principal, key, request_hash, now])
            row = cursor.fetchone()
        return None if row is None else int(row[0])


class SafetyPolicyQuerySet(TenantQuerySet):
    """Safety rules."""

    def of_bot(self, bot_id: int | None) -> Self:
        """The business's own, and those of this bot."""
        return self.filter(Q(bot=None) | Q(bot=bot_id))


class MaskedValueQuerySet(TenantQuerySet):
    """What placeholders stand for."""

    def known_at(self, moment: datetime) -> Self:
        """Those that a job of this moment could hold."""
        return self.filter(created_at__lte=moment)


class GuardrailEventQuerySet(TenantQuerySet):
    """What was not let pass."""

    def strikes_since(self, moment: datetime) -> Self:
        """What counts against a visitor."""
        return self.filter(at__gte=moment, action=GuardAction.REFUSED).exclude(kind=GuardKind.UNTAUGHT)


class VisitorBlockQuerySet(TenantQuerySet):
    """Visitors who are kept out."""

    def in_force(self, now: datetime) -> Self:
        return self.filter(Q(until=None) | Q(until__gt=now), lifted_at=None)

    def against(self, *, conversation_id: int | None, address_hash: str) -> Self:
        known = Q(conversation=conversation_id) if conversation_id is not None else Q(pk__in=[])
        return self.filter(known | Q(address_hash=address_hash) if address_hash else known)


class ChannelQuerySet(TenantQuerySet):
    """Channels."""

    def due(self, now: datetime) -> Self:
        return self.filter(is_active=True, bot__is_active=True, next_poll_at__lte=now)


class ChannelMessageQuerySet(TenantQuerySet):
    """Messages of channels."""

    def due(self, now: datetime) -> Self:
        return self.filter(delivery=Delivery.WAITING, due_at__lte=now)


class BotManager(models.Manager.from_queryset(BotQuerySet)):  # type: ignore[misc]
    """The manager of bots."""


class ConversationManager(models.Manager.from_queryset(ConversationQuerySet)):  # type: ignore[misc]
    """The manager of conversations."""


class ChatLogManager(models.Manager.from_queryset(ChatLogQuerySet)):  # type: ignore[misc]
    """The manager of chat logs."""


class AgentSeatManager(models.Manager.from_queryset(AgentSeatQuerySet)):  # type: ignore[misc]
    """The manager of agents' seats."""


class IdempotencyManager(models.Manager.from_queryset(IdempotencyQuerySet)):  # type: ignore[misc]
    """The manager of remembered replies."""


class SafetyPolicyManager(models.Manager.from_queryset(SafetyPolicyQuerySet)):  # type: ignore[misc]
    """The manager of safety rules."""


class MaskedValueManager(models.Manager.from_queryset(MaskedValueQuerySet)):  # type: ignore[misc]
    """The manager of masked values."""


class GuardrailEventManager(models.Manager.from_queryset(GuardrailEventQuerySet)):  # type: ignore[misc]
    """The manager of guardrail events."""


class VisitorBlockManager(models.Manager.from_queryset(VisitorBlockQuerySet)):  # type: ignore[misc]
    """The manager of visitors' blocks."""


class ChannelManager(models.Manager.from_queryset(ChannelQuerySet)):  # type: ignore[misc]
    """The manager of channels."""


class ChannelMessageManager(models.Manager.from_queryset(ChannelMessageQuerySet)):  # type: ignore[misc]
    """The manager of channels' messages."""
