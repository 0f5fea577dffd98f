"""What agents do beside answering: notes, tags, sleep, replies that are ready, drafts by the AI."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from accounts.models import User
from chats.desk.drafting import Draft, Wish, ask, read
from chats.limits import MAX_MESSAGE_CHARS
from chats.models import CannedReply, Conversation, ConversationTag, Note, Tag
from mia.lib.errors import InvalidRequest

__all__ = ["Draft", "Wish", "ask", "read"]

MOST_TAGS: Final = 20
MOST_CANNED: Final = 500
NAPS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}
"""How long a conversation may be put to sleep for."""


def write_note(*, conversation: Conversation, author: User, text: str, now: datetime) -> Note:
    """Raises InvalidRequest."""
    text = text.replace("\x00", "").strip()
    if not text or len(text) > MAX_MESSAGE_CHARS:
        raise InvalidRequest({"text": [f"A note has 1 to {MAX_MESSAGE_CHARS} characters."]})
    note: Note = Note.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        text=text,
        author=author,
        author_name=author.get_short_name()[:150],
        created_at=now,
    )
    return note


def set_tags(*, conversation: Conversation, tag_ids: Iterable[int]) -> None:
    """Exactly these tags of the conversation's business; others are ignored."""
    tags = list(Tag.objects.for_business(conversation.business_id).filter(pk__in=list(tag_ids))[:MOST_TAGS])
    worn = ConversationTag.objects.for_business(conversation.business_id).filter(conversation=conversation)
    worn.exclude(tag__in=tags).delete()
    ConversationTag.objects.bulk_create(
        [ConversationTag(business_id=conversation.business_id, conversation=conversation, tag=tag) for tag in tags],
        ignore_conflicts=True,
    )


def snooze(*, conversation: Conversation, nap: str, now: datetime) -> datetime:
    """Out of the lists until then, or until the visitor writes. Raises InvalidRequest."""
    if nap not in NAPS:
        raise InvalidRequest({"nap": ["Choose an hour, a day or a week."]})
    conversation.snoozed_until = now + NAPS[nap]
    conversation.save(update_fields=["snoozed_until"])
    return conversation.snoozed_until


def wake(*, conversation: Conversation) -> None:
    conversation.snoozed_until = None
    conversation.save(update_fields=["snoozed_until"])


def canned_replies(*, conversation: Conversation, agent: User) -> list[dict[str, str]]:
    """All of the business, with the names put in. One statement."""
    names = {"{visitor}": conversation.visitor_name, "{agent}": agent.get_short_name()}
    replies = CannedReply.objects.for_business(conversation.business_id)[:MOST_CANNED]
    return [{"shortcut": one.shortcut, "title": one.title, "text": _filled(one.text, names)} for one in replies]


def _filled(text: str, names: dict[str, str]) -> str:
    for mark, name in names.items():
        text = text.replace(f" {mark}", f" {name}" if name else "").replace(mark, name)
    return text
