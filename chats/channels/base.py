"""What a kind of channel has to do: fetch what came in, send what goes out, say whether it works."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chats.models import Channel

MOST_AT_ONCE: Final = 50
SEAL_PURPOSE: Final = "chats.channels"


class ChannelError(Exception):
    """A channel could not be used; its text is for staff and holds no secret. `permanent`: trying again is no use."""

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_s: int = 0) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Incoming:
    """A message as it came; `ignored` says why nobody answers it, `attachments` counts what was not read.

    `cursor` is where the channel stands once this message is dealt with.
    """

    external_id: str
    cursor: int
    address: str = ""
    name: str = ""
    subject: str = ""
    text: str = ""
    references: tuple[str, ...] = ()
    attachments: int = 0
    ignored: str = ""
    is_greeting: bool = False


@dataclass(frozen=True)
class Fetched:
    """What came in, oldest first; `epoch` changes when the channel counts anew, `cursor` where nothing came."""

    messages: Sequence[Incoming]
    epoch: int
    cursor: int


@dataclass(frozen=True)
class Outgoing:
    """A message on its way out; `message_id` is the same at every attempt."""

    message_id: str
    address: str
    text: str
    subject: str = ""
    references: Sequence[str] = field(default_factory=tuple)
    is_automatic: bool = True


class ChannelPort(ABC):
    """A channel of one kind, as its row and its secret describe it. Every method raises ChannelError."""

    def __init__(self, channel: Channel, secret: str) -> None:
        self.channel = channel
        self.secret = secret

    @abstractmethod
    def fetch(self) -> Fetched:
        """What came since the channel's cursor, MOST_AT_ONCE at most; changes nothing that a second call would miss."""

    @abstractmethod
    def send(self, message: Outgoing) -> str:
        """Hands a message over; the id by which answers to it name it."""

    @abstractmethod
    def check(self) -> str:
        """Tries both ways without sending anything; what was reached, for staff."""
