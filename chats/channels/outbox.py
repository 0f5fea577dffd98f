"""What goes out by channels: written in the transaction that says it, delivered afterwards, again until it arrives."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F

from chats.choices import ChannelKind, Delivery, Direction, Role
from chats.models import ChannelMessage, ChatLog, Conversation

APOLOGY: Final = "Sorry, no answer could be produced at once. A person of our team will look into it."
MOST_ATTEMPTS: Final = 8
LEASE: Final = timedelta(minutes=2)
FIRST_WAIT: Final = timedelta(seconds=15)
LONGEST_WAIT: Final = timedelta(hours=1)


def queue(conversation: Conversation, log: ChatLog, *, now: datetime) -> None:
    """Has an answer or an agent's words delivered where the conversation takes place; nothing for the website."""
    if conversation.channel == ChannelKind.WIDGET or log.pk is None or not log.message:
        return
    last = _last_in(conversation)
    if last is not None:
        _write(last, log.message, chat_log=log, now=now)


def say(asked: ChannelMessage, text: str, *, now: datetime) -> None:
    """A word of the channel itself, in answer to a message."""
    _write(asked, text, chat_log=None, now=now)


def apologise(conversation: Conversation, *, now: datetime) -> None:
    """Where no answer could be produced."""
    last = _last_in(conversation)
    if last is not None:
        _write(last, APOLOGY, chat_log=None, now=now)


def claim(message_id: int, *, now: datetime) -> ChannelMessage | None:
    """The message to be sent now, by one process only; None where it was sent, given up, or is being sent."""
    waiting = ChannelMessage.objects.due(now).filter(pk=message_id)
    if not waiting.update(attempts=F("attempts") + 1, due_at=now + LEASE):
        return None
    claimed: ChannelMessage = ChannelMessage.objects.select_related("channel", "conversation", "chat_log").get(
        pk=message_id
    )
    return claimed


def note_sent(message: ChannelMessage, *, external_id: str) -> None:
    message.delivery, message.due_at, message.error = Delivery.DONE, None, ""
    message.external_id = external_id[:300]
    message.save(update_fields=["delivery", "due_at", "error", "external_id"])


def note_failed(message: ChannelMessage, *, reason: str, permanent: bool, now: datetime) -> None:
    """Waits longer each time; gives up in the end, or at once where trying again is no use."""
    message.error = reason[:300]
    if permanent or message.attempts >= MOST_ATTEMPTS:
        message.delivery, message.due_at = Delivery.FAILED, None
    else:
        message.due_at = now + min(FIRST_WAIT * 2 ** (message.attempts - 1), LONGEST_WAIT)
    message.save(update_fields=["delivery", "due_at", "error"])


def is_automatic(message: ChannelMessage) -> bool:
    return message.chat_log is None or message.chat_log.role != Role.AGENT


def references(message: ChannelMessage) -> list[str]:
    """The ids of the thread so far, the newest first."""
    thread = ChannelMessage.objects.for_business(message.business_id).filter(
        channel=message.channel_id, conversation=message.conversation_id, pk__lt=message.pk
    )
    known = thread.exclude(external_id="").order_by("-id").values_list("external_id", flat=True)
    return list(known[:10])


def _last_in(conversation: Conversation) -> ChannelMessage | None:
    came = ChannelMessage.objects.for_business(conversation.business_id).filter(
        conversation=conversation, direction=Direction.IN
    )
    last: ChannelMessage | None = came.select_related("channel").order_by("-id").first()
    return last


def _write(asked: ChannelMessage, text: str, *, chat_log: ChatLog | None, now: datetime) -> None:
    from chats.channels.tasks import deliver

    subject = asked.subject if asked.subject.lower().startswith("re:") else f"Re: {asked.subject}".strip()
    is_mail = asked.channel.kind == ChannelKind.EMAIL
    row = ChannelMessage.objects.create(
        business_id=asked.business_id,
        channel_id=asked.channel_id,
        conversation_id=asked.conversation_id,
        chat_log=chat_log,
        direction=Direction.OUT,
        external_id=f"<{uuid.uuid4()}@{asked.channel.address.partition('@')[2] or 'localhost'}>" if is_mail else "",
        address=asked.address,
        subject=subject[:300] if is_mail else "",
        text=text,
        delivery=Delivery.WAITING,
        due_at=now,
        created_at=now,
    )
    deliver.enqueue(business_id=row.business_id, message_id=row.pk)
