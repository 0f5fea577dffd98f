"""Every table of chats, a module for each topic."""

from chats.models.bots import Bot
from chats.models.channels import Channel, ChannelMessage
from chats.models.conversations import SNIPPET_CHARS, AgentSeat, ChatLog, Conversation
from chats.models.desk import CannedReply, ConversationTag, Note, OwnershipChange, Tag
from chats.models.feedback import Feedback, Lead, Rating
from chats.models.idempotency import IdempotencyRecord
from chats.models.safety import GuardrailEvent, MaskedValue, SafetyPolicy, VisitorBlock
from chats.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookMessage

__all__ = [
    "SNIPPET_CHARS",
    "AgentSeat",
    "Bot",
    "CannedReply",
    "Channel",
    "ChannelMessage",
    "ChatLog",
    "Conversation",
    "ConversationTag",
    "Feedback",
    "GuardrailEvent",
    "IdempotencyRecord",
    "Lead",
    "MaskedValue",
    "Note",
    "OwnershipChange",
    "Rating",
    "SafetyPolicy",
    "Tag",
    "VisitorBlock",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookMessage",
]
