"""Makes rows of chats for tests of any app."""

from __future__ import annotations

import factory
from django.utils import timezone

from accounts.tests.factories import BusinessFactory, PlatformFactory
from chats.choices import Role
from chats.models import Bot, ChatLog, Conversation, WebhookEndpoint
from chats.webhooks import signing
from chats.webhooks.events import Event
from mia.lib.sealing import seal


class BotFactory(PlatformFactory):
    """An active bot."""

    class Meta:
        model = Bot

    business = factory.SubFactory(BusinessFactory)
    name = factory.Sequence(lambda number: f"Bot {number}")
    role = "support agent of a bicycle shop"
    business_description = "We repair bicycles. A tyre costs 30 francs. We are open from 9 to 18."
    first_message = "Hello! How can I help?"


class ConversationFactory(PlatformFactory):
    """A conversation without messages."""

    class Meta:
        model = Conversation

    bot = factory.SubFactory(BotFactory)
    business = factory.SelfAttribute("bot.business")


class ChatLogFactory(PlatformFactory):
    """A visitor's message; `answer=True` for the AI's."""

    class Meta:
        model = ChatLog

    class Params:
        answer = factory.Trait(role=Role.ASSISTANT, message="A tyre costs 30 francs.")

    conversation = factory.SubFactory(ConversationFactory)
    business = factory.SelfAttribute("conversation.business")
    role = Role.USER
    message = "What does a tyre cost?"
    timestamp = factory.LazyFunction(timezone.now)


class WebhookEndpointFactory(PlatformFactory):
    """A webhook that wants everything."""

    class Meta:
        model = WebhookEndpoint

    business = factory.SubFactory(BusinessFactory)
    name = factory.Sequence(lambda number: f"Webhook {number}")
    url = "https://shop.example/hooks"
    events = list(Event.values)
    sealed_secret = factory.LazyFunction(lambda: seal(signing.new_secret(), purpose=signing.PURPOSE))
