"""What came in by a channel, each message once: to the conversation it belongs to, through the front door."""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from accounts.principals import Principal, PrincipalKind
from accounts.tenancy import undoable
from chats import blocking, services
from chats.channels import outbox
from chats.channels.base import Incoming
from chats.choices import ChannelKind, Delivery, Direction
from chats.limits import MAX_MESSAGE_CHARS
from chats.models import Channel, ChannelMessage, Conversation
from mia.lib import rows
from mia.lib.errors import ApplicationError
from mia.lib.ratelimit import Bucket, take

# Two machines that answer each other would never stop; people do not write this fast.
SENDER_BUCKET: Final = Bucket("channel-sender", rate_per_s=10 / 600, burst=10)
NO_ATTACHMENTS: Final = "Attachments cannot be read here. Please describe in words what they show."
NOT_TAKEN: Final = "Your message could not be taken at the moment. Please try again later."
GREETING: Final = "👋"
TOO_FAST: Final = "too many messages of this sender"


def take_in(channel: Channel, incoming: Incoming, *, now: datetime) -> None:
    """In the caller's transaction, in the business's scope. A message that is known already changes nothing.

    Raises Unavailable or NoCapacity where the same message may be taken later: nothing of it is kept then.
    """
    row = ChannelMessage(
        business_id=channel.business_id,
        channel=channel,
        direction=Direction.IN,
        external_id=incoming.external_id[:300],
        address=incoming.address,
        subject=incoming.subject,
        text=incoming.text[:MAX_MESSAGE_CHARS],
        created_at=now,
    )
    rows.insert(row, on_conflict="DO NOTHING")
    if not row.pk:
        return
    if ignored := _why_ignored(channel, incoming):
        _ignore(row, ignored)
    else:
        _act_on(channel, row, incoming, now)


def _why_ignored(channel: Channel, incoming: Incoming) -> str:
    if incoming.ignored:
        return incoming.ignored
    is_slow = take(SENDER_BUCKET, f"{channel.pk}:{incoming.address}").allowed
    return "" if is_slow else TOO_FAST


def _ignore(row: ChannelMessage, reason: str) -> None:
    """Keeps that it came, so that it is not looked at again, and none of its words."""
    row.delivery, row.error, row.text = Delivery.IGNORED, reason[:300], ""
    row.save(update_fields=["delivery", "error", "text", "conversation"])


def _act_on(channel: Channel, row: ChannelMessage, incoming: Incoming, now: datetime) -> None:
    conversation = conversation_for(channel, incoming) or _new_conversation(channel, incoming, now)
    row.conversation = conversation
    row.save(update_fields=["conversation"])
    if blocking.is_blocked(conversation, now):
        _ignore(row, "the visitor is blocked")
        return
    if incoming.is_greeting:
        outbox.say(row, channel.bot.first_message or GREETING, now=now)
    elif row.text:
        _ask(channel, row, conversation, now)
    if incoming.attachments:
        outbox.say(row, NO_ATTACHMENTS, now=now)


def _ask(channel: Channel, row: ChannelMessage, conversation: Conversation, now: datetime) -> None:
    principal = Principal(kind=PrincipalKind.SECRET, business_id=channel.business_id, label=f"channel {channel.pk}")
    question = services.Question(message=row.text, session_id=conversation.public_id)
    try:
        with undoable():
            services.ask(caller=services.Caller(principal=principal), question=question, now=now)
    except ApplicationError as error:
        if error.status >= 500:
            raise
        row.error = error.code[:300]
        row.save(update_fields=["error"])
        outbox.say(row, NOT_TAKEN, now=now)


def _new_conversation(channel: Channel, incoming: Incoming, now: datetime) -> Conversation:
    is_mail = channel.kind == ChannelKind.EMAIL
    made: Conversation = Conversation.objects.create(
        business_id=channel.business_id,
        bot=channel.bot,
        channel=channel.kind,
        visitor_name=incoming.name,
        visitor_email=incoming.address if is_mail else "",
        created_at=now,
        last_message_at=now,
    )
    return made


def conversation_for(channel: Channel, incoming: Incoming) -> Conversation | None:
    """The thread that a message goes on with: of the mail that it answers, or the last one with its sender.

    Only ever a conversation with the same address: who knows a message id does not read on in it.
    """
    talked = ChannelMessage.objects.for_business(channel.business_id).filter(
        channel=channel, address=incoming.address, conversation__isnull=False
    )
    if incoming.references:
        answered = talked.filter(external_id__in=incoming.references).order_by("-id").first()
        if answered is not None:
            return cast("Conversation", answered.conversation)
        if channel.kind == ChannelKind.EMAIL:
            return None
    if channel.kind == ChannelKind.EMAIL:
        talked = talked.filter(subject=incoming.subject)
    last = talked.select_related("conversation").order_by("-id").first()
    return cast("Conversation", last.conversation) if last else None
