"""Every table of chats, a module for each topic."""

from chats.models.bots import Bot
from chats.models.channels import Channel, ChannelMessage
from chats.models.conversations import SNIPPET_CHARS, AgentSeat, ChatLog, Conversation
from chats.models.feedback import Feedback, Lead, Rating
from chats.models.idempotency import IdempotencyRecord
from chats.models.safety import GuardrailEvent, MaskedValue, SafetyPolicy, VisitorBlock
from chats.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookMessage

__all__ = [
    "SNIPPET_CHARS",
    "AgentSeat",
    "Bot",
    "Channel",
    "ChannelMessage",
    "ChatLog",
    "Conversation",
    "Feedback",
    "GuardrailEvent",
    "IdempotencyRecord",
    "Lead",
    "MaskedValue",
    "Rating",
    "SafetyPolicy",
    "VisitorBlock",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookMessage",
]
