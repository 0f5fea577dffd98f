"""A Telegram bot, by long polling of the Bot API: no address of ours has to be reachable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from chats.channels.base import MOST_AT_ONCE, ChannelError, ChannelPort, Fetched, Incoming, Outgoing
from mia.lib.http import OutboundError, post_json

MAX_CHARS: Final = 4096
TIMEOUT_S: Final = 20.0
FILES: Final = (
    "photo",
    "document",
    "audio",
    "voice",
    "video",
    "sticker",
    "animation",
    "video_note",
    "contact",
    "location",
)
GREETING: Final = "/start"


class TelegramChannel(ChannelPort):
    """A bot of the Bot API; only private chats are answered."""

    def fetch(self) -> Fetched:
        wanted = {
            "offset": self.channel.cursor + 1,
            "limit": MOST_AT_ONCE,
            "timeout": 0,
            "allowed_updates": ["message"],
        }
        updates = self._call("getUpdates", wanted)
        if not isinstance(updates, list):
            raise ChannelError("Telegram: an answer that makes no sense.")
        return Fetched([_incoming(update) for update in updates if isinstance(update, dict)], 1, self.channel.cursor)

    def send(self, message: Outgoing) -> str:
        """Long texts go in pieces; the id is the last one's."""
        sent: Any = {}
        for start in range(0, max(len(message.text), 1), MAX_CHARS):
            piece = message.text[start : start + MAX_CHARS]
            sent = self._call("sendMessage", {"chat_id": int(message.address), "text": piece})
        return f"{message.address}:{sent.get('message_id', '')}" if isinstance(sent, dict) else message.message_id

    def check(self) -> str:
        me = self._call("getMe", {})
        return f"Telegram knows the bot as @{me.get('username', '?')}." if isinstance(me, dict) else "Telegram answers."

    def _call(self, method: str, parameters: Mapping[str, object]) -> object:
        url = f"{settings.TELEGRAM_API_URL}/bot{self.secret}/{method}"
        try:
            reply = post_json(url, dict(parameters), timeout_s=TIMEOUT_S)
        except OutboundError as error:
            raise _refusal(error) from None  # The chain would name the address, and so the token.
        if not isinstance(reply, dict) or reply.get("ok") is not True:
            raise ChannelError("Telegram: refused.")
        return reply.get("result")


def _refusal(error: OutboundError) -> ChannelError:
    reasons = {
        401: "Telegram: the token is wrong.",
        403: "Telegram: the visitor blocked the bot.",
        404: "Telegram: the token is wrong.",
        409: "Telegram: something else reads this bot's messages.",
    }
    status = error.http_status or 0
    permanent = status in {400, 401, 403, 404}
    return ChannelError(reasons.get(status, f"Telegram does not answer ({status or 'no reply'})."), permanent=permanent)


def _incoming(update: Mapping[str, Any]) -> Incoming:
    message = _mapping(update.get("message"))
    chat, sender = _mapping(message.get("chat")), _mapping(message.get("from"))
    text = str(message.get("text") or message.get("caption") or "").replace("\x00", "").strip()
    names = [str(sender.get(name) or "") for name in ("first_name", "last_name")]
    return Incoming(
        external_id=f"{chat.get('id')}:{message.get('message_id')}" if message else f"update:{update.get('update_id')}",
        cursor=int(update.get("update_id") or 0),
        address=str(chat.get("id") or ""),
        name=" ".join(" ".join(names).split())[:150],
        text=text,
        attachments=sum(1 for kind in FILES if kind in message),
        ignored=_not_for_us(message, chat, sender),
        is_greeting=text.startswith(GREETING),
    )


def _not_for_us(message: Mapping[str, Any], chat: Mapping[str, Any], sender: Mapping[str, Any]) -> str:
    if not message:
        return "no message"
    if sender.get("is_bot"):
        return "another bot"
    return "" if chat.get("type") == "private" else "a group"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
