"""What the dispatcher sees to: channels are looked at when it is time, and nothing waits for ever to be delivered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from chats.channels import tasks
from chats.choices import Delivery
from chats.models import Channel, ChannelMessage

AT_ONCE: Final = 200
LEASE: Final = timedelta(minutes=5)
IGNORED_KEPT: Final = timedelta(days=30)
UNTAKEN: Final = timedelta(seconds=30)


def poll_due(*, now: datetime) -> None:
    """Gives each channel to one worker; one that dies with it is looked at again in minutes."""
    for channel in Channel.objects.due(now).order_by("next_poll_at")[:AT_ONCE]:
        if Channel.objects.due(now).filter(pk=channel.pk).update(next_poll_at=now + LEASE):
            tasks.poll.enqueue(business_id=channel.business_id, channel_id=channel.pk)


def deliver_due(*, now: datetime) -> None:
    """What its own task did not deliver: after a failure, or where Redis lost it."""
    for message in ChannelMessage.objects.due(now - UNTAKEN).order_by("due_at")[:AT_ONCE]:
        tasks.deliver.enqueue(business_id=message.business_id, message_id=message.pk)


def forget_ignored(*, now: datetime) -> None:
    """What nobody answered belongs to no conversation that would take it along when it is erased."""
    ChannelMessage.objects.filter(
        delivery=Delivery.IGNORED, conversation=None, created_at__lt=now - IGNORED_KEPT
    ).delete()
