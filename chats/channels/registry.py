"""The port of each kind of channel."""

from __future__ import annotations

from typing import Final

from chats.channels.base import ChannelPort
from chats.channels.mail import MailChannel
from chats.channels.secrets import unseal
from chats.channels.telegram import TelegramChannel
from chats.choices import ChannelKind
from chats.models import Channel

PORTS: Final[dict[str, type[ChannelPort]]] = {
    ChannelKind.EMAIL: MailChannel,
    ChannelKind.TELEGRAM: TelegramChannel,
}


def port_of(channel: Channel) -> ChannelPort:
    """Raises ChannelError for a secret that cannot be read."""
    return PORTS[channel.kind](channel, unseal(channel.encrypted_secret))
