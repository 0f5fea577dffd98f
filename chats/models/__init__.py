"""Every table of chats, a module for each topic."""

from chats.models.bots import Bot
from chats.models.conversations import SNIPPET_CHARS, AgentSeat, ChatLog, Conversation
from chats.models.feedback import Feedback, Lead, Rating
from chats.models.idempotency import IdempotencyRecord
from chats.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookMessage

__all__ = [
    "SNIPPET_CHARS",
    "AgentSeat",
    "Bot",
    "ChatLog",
    "Conversation",
    "Feedback",
    "IdempotencyRecord",
    "Lead",
    "Rating",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookMessage",
]
