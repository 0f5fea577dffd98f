"""The port of each kind of channel."""

from __future__ import annotations

from typing import Final

from chats.channels.base import SEAL_PURPOSE, ChannelError, ChannelPort
from chats.channels.mail import MailChannel
from chats.channels.telegram import TelegramChannel
from chats.choices import ChannelKind
from chats.models import Channel
from mia.lib.sealing import Unreadable, unseal

PORTS: Final[dict[str, type[ChannelPort]]] = {
    ChannelKind.EMAIL: MailChannel,
    ChannelKind.TELEGRAM: TelegramChannel,
}


def port_of(channel: Channel) -> ChannelPort:
    """Raises ChannelError for a secret that cannot be read."""
    try:
        secret = unseal(channel.encrypted_secret, purpose=SEAL_PURPOSE)
    except Unreadable as error:
        raise ChannelError("The stored secret cannot be read any more: enter it again.", permanent=True) from error
    return PORTS[channel.kind](channel, secret)
