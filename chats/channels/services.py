"""What can be done with channels: fetched, delivered, tried; the network is never spoken to inside a transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from accounts.tenancy import business_scope
from chats.channels import intake, outbox
from chats.channels.base import ChannelError, Fetched, Incoming, Outgoing
from chats.channels.registry import port_of
from chats.choices import ChannelKind, ChannelStatus
from chats.models import Channel, ChannelMessage
from mia.lib.errors import ApplicationError

EVERY: Final = {ChannelKind.EMAIL: timedelta(seconds=20), ChannelKind.TELEGRAM: timedelta(seconds=3)}
AFTER_FAILURE: Final = timedelta(minutes=2)
BUSY: Final = "Too much to do at the moment: the rest is taken in soon."


def poll(*, business_id: int, channel_id: int, now: datetime) -> int:
    """Takes in what came, each message in a transaction of its own; how many there were."""
    with business_scope(business_id):
        channel = Channel.objects.select_related("bot__business").filter(pk=channel_id, is_active=True).first()
    if channel is None:
        return 0
    try:
        fetched = port_of(channel).fetch()
    except ChannelError as error:
        _note_failure(channel, error, now)
        return 0
    try:
        for incoming in fetched.messages:
            _take_in(channel, incoming, fetched, now)
    except ApplicationError:
        _note(channel, now, status=ChannelStatus.WORKS, last_error=BUSY, next_poll_at=now + AFTER_FAILURE)
        return 0
    _note(
        channel,
        now,
        status=ChannelStatus.WORKS,
        last_error="",
        next_poll_at=now + EVERY[ChannelKind(channel.kind)],
        cursor_epoch=fetched.epoch,
        cursor=max([fetched.cursor, *(incoming.cursor for incoming in fetched.messages)]),
    )
    return len(fetched.messages)


def deliver(*, business_id: int, message_id: int, now: datetime) -> None:
    """Sends a message once: whoever claims it sends it, and a claim that came to nothing is free again in minutes."""
    with business_scope(business_id):
        message = outbox.claim(message_id, now=now)
        outgoing = None if message is None else _outgoing(message)
    if message is None or outgoing is None:
        return
    try:
        external_id = port_of(message.channel).send(outgoing)
    except ChannelError as error:
        with business_scope(business_id):
            outbox.note_failed(message, reason=str(error), permanent=error.permanent, now=now)
        return
    with business_scope(business_id):
        outbox.note_sent(message, external_id=external_id)


def check(channel: Channel, *, now: datetime) -> str:
    """Tries a channel both ways and notes how it went; what was found. Raises ChannelError."""
    try:
        found = port_of(channel).check()
    except ChannelError as error:
        _note_failure(channel, error, now)
        raise
    _note(channel, now, status=ChannelStatus.WORKS, last_error="")
    return found


def _take_in(channel: Channel, incoming: Incoming, fetched: Fetched, now: datetime) -> None:
    with business_scope(channel.business_id):
        intake.take_in(channel, incoming, now=now)
        Channel.objects.filter(pk=channel.pk).update(cursor=incoming.cursor, cursor_epoch=fetched.epoch)


def _outgoing(message: ChannelMessage) -> Outgoing:
    return Outgoing(
        message_id=message.external_id,
        address=message.address,
        text=message.text,
        subject=message.subject,
        references=outbox.references(message),
        is_automatic=outbox.is_automatic(message),
    )


def _note_failure(channel: Channel, error: ChannelError, now: datetime) -> None:
    _note(channel, now, status=ChannelStatus.FAILING, last_error=str(error)[:300], next_poll_at=now + AFTER_FAILURE)


def _note(channel: Channel, now: datetime, **fields: object) -> None:
    with business_scope(channel.business_id):
        Channel.objects.filter(pk=channel.pk).update(checked_at=now, **fields)
