"""A visitor's data, everywhere: handed over, or erased so that no table and no vector holds a word of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, TextField
from django.db.models.functions import Cast
from redis.exceptions import RedisError

from accounts.audit import Actor, record_audit
from accounts.choices import AuditAction
from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from chats.choices import Role
from chats.desk.drafting import topic_of
from chats.models import ChannelMessage, ChatLog, Conversation, IdempotencyRecord, Lead, WebhookMessage
from knowledge import privacy
from knowledge.drafting import TOPIC as DRAFT_TOPIC
from mia.lib.redis import sync_redis
from miners.models import Job
from miners.services import cancel_job
from miners.streams import state_key, stream_key

MESSAGE_FIELDS = ("timestamp", "role", "message", "citations", "author_name")
REFUSED_FIELDS = ("at", "kind", "action", "excerpt")
LEAD_FIELDS = ("created_at", "name", "email", "phone", "note")


@dataclass(frozen=True)
class Visitor:
    """Who is meant: an e-mail address, a phone number or a session id, and the conversations that are theirs."""

    business: Business
    identity: str
    conversations: Sequence[Conversation]

    @property
    def session_ids(self) -> list[UUID]:
        return [conversation.public_id for conversation in self.conversations]


def find_visitor(*, business: Business, identity: str) -> Visitor:
    """By what they left in a lead or as the visitor of a conversation, or by the session itself. In a scope."""
    identity = identity.strip()
    theirs = Q(visitor_email__iexact=identity) | Q(external_id=identity) | Q(pk__in=_leads(business, identity))
    if "@" in identity:
        said = ChatLog.objects.for_business(business).filter(role=Role.USER, message__icontains=identity)
        theirs |= Q(pk__in=said.values("conversation_id"))
    if (session_id := _as_uuid(identity)) is not None:
        theirs |= Q(public_id=session_id)
    conversations = Conversation.objects.for_business(business).filter(theirs).order_by("pk")
    return Visitor(business, identity, list(conversations) if identity else [])


def export_visitor(*, business: Business, identity: str) -> dict[str, Any]:
    """Everything that is kept of a visitor, as JSON takes it; empty lists where nothing is."""
    with business_scope(business.pk):
        visitor = find_visitor(business=business, identity=identity)
        return {
            "business": business.name,
            "visitor": visitor.identity,
            "conversations": [_conversation(conversation) for conversation in visitor.conversations],
            **privacy.export(business_id=business.pk, conversation_ids=visitor.session_ids),
        }


def erase_visitor(*, business: Business, identity: str, actor: Actor, now: datetime) -> int:
    """Removes a visitor's conversations with everything in them and about them; how many rows went.

    The audit trail keeps that it was done, not for whom. Jobs keep their figures, for money, and lose their words.
    """
    with platform_scope():
        visitor = find_visitor(business=business, identity=identity)
        topics = [topic for talk in visitor.conversations for topic in (talk.topic, topic_of(talk))]
        words = _words(visitor)
        drafts = privacy.drafts_of(business_id=business.pk, conversation_ids=visitor.session_ids)
        gone = privacy.erase(business_id=business.pk, conversation_ids=visitor.session_ids, words=words)
        jobs = Job.objects.filter(business_id=business.pk).filter(
            Q(topic__in=topics) | Q(pk__in=[*drafts, *_drafts(business, words)])
        )
        for job in jobs.live():
            cancel_job(job=job, now=now)
        _forget_streams(jobs.values_list("pk", flat=True))
        gone += jobs.update(messages=[], output="", tools=[], tool_calls=None, resume_text="")
        gone += _forget_replies(business, visitor)
        gone += _forget_mail(business, visitor, words)
        gone += _forget_webhooks(business, visitor)
        deleted, _ = Conversation.objects.filter(pk__in=[item.pk for item in visitor.conversations]).delete()
        record_audit(
            actor=actor,
            business=business,
            action=AuditAction.DELETED,
            target=business,
            changes={"visitor": "erased", "conversations": len(visitor.conversations)},
        )
    return gone + int(deleted)


def _words(visitor: Visitor) -> list[str]:
    """What would give the visitor away where it is written elsewhere: addresses, not names, which others share."""
    named = [conversation.visitor_email for conversation in visitor.conversations]
    leads = Lead.objects.for_business(visitor.business).filter(conversation__in=visitor.conversations)
    named += [value for pair in leads.values_list("email", "phone") for value in pair]
    is_telling = "@" in visitor.identity or sum(char.isdigit() for char in visitor.identity) > 5
    return sorted({word for word in [*named, visitor.identity if is_telling else ""] if word})


def _drafts(business: Business, words: Sequence[str]) -> list[UUID]:
    """Jobs that drafted an answer to a question in which the visitor gave an address."""
    drafts = Job.objects.filter(business_id=business.pk, topic__startswith=f"{DRAFT_TOPIC}:")
    asked = drafts.annotate(asked=Cast("messages", TextField()))
    return [pk for word in words for pk in asked.filter(asked__icontains=word).values_list("pk", flat=True)]


def _forget_replies(business: Business, visitor: Visitor) -> int:
    """Stored replies to repeated requests name their session."""
    sessions = [str(session_id) for session_id in visitor.session_ids]
    records = IdempotencyRecord.objects.for_business(business).filter(response__session_id__in=sessions)
    deleted, _ = records.delete()
    return int(deleted)


def _forget_mail(business: Business, visitor: Visitor, words: Sequence[str]) -> int:
    """Messages of channels go with their conversation; those that nobody answered are found by their address."""
    theirs = ChannelMessage.objects.for_business(business).filter(
        Q(conversation__in=visitor.conversations) | Q(address__in=[word.lower() for word in words])
    )
    deleted, _ = theirs.delete()
    return int(deleted)


def _forget_webhooks(business: Business, visitor: Visitor) -> int:
    """What was told, or was still to be told, to the business's own server."""
    sessions = [str(session_id) for session_id in visitor.session_ids]
    deleted, _ = WebhookMessage.objects.for_business(business).filter(data__session_id__in=sessions).delete()
    return int(deleted)


def _forget_streams(job_ids: Iterable[UUID]) -> None:
    """What Redis still holds of an answer is gone in a quarter of an hour anyway."""
    keys = [key for job_id in job_ids for key in (state_key(job_id), stream_key(job_id))]
    if keys:
        with contextlib.suppress(RedisError):
            sync_redis().delete(*keys)


def _leads(business: Business, identity: str) -> Any:
    leads = Lead.objects.for_business(business).filter(Q(email__iexact=identity) | Q(phone=identity))
    return leads.values("conversation_id")


def _conversation(conversation: Conversation) -> dict[str, Any]:
    logs = ChatLog.objects.filter(conversation=conversation).order_by("pk")
    leads = Lead.objects.filter(conversation=conversation).order_by("pk")
    rating = getattr(conversation, "rating", None)
    return {
        "session_id": str(conversation.public_id),
        "started": conversation.created_at,
        "visitor_name": conversation.visitor_name,
        "visitor_email": conversation.visitor_email,
        "messages": list(logs.values(*MESSAGE_FIELDS, "feedback__verdict", "feedback__reason")),
        "leads": list(leads.values(*LEAD_FIELDS)),
        "notes": list(conversation.notes.order_by("pk").values("created_at", "author_name", "text")),
        "tags": list(conversation.tagged.values_list("tag__name", flat=True)),
        "refused": list(conversation.guardrail_events.order_by("pk").values(*REFUSED_FIELDS)),
        "rating": None if rating is None else {"score": rating.score, "comment": rating.comment},
    }


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
