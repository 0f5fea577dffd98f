"""What can be done with webhooks: one call for every admin page, and `notify` for whatever happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from accounts.audit import Actor, record_audit
from accounts.choices import AuditAction
from chats.choices import DeliveryState
from chats.models import ChatLog, Conversation, WebhookDelivery, WebhookEndpoint, WebhookMessage
from chats.webhooks import events, outbox, signing
from chats.webhooks.events import Event
from chats.webhooks.outbox import notify
from mia.lib.errors import Conflict
from mia.lib.sealing import seal

__all__ = ["notify"]

OVERLAP: Final = timedelta(hours=24)


@transaction.atomic
def add_endpoint(*, actor: Actor, endpoint: WebhookEndpoint) -> str:
    """Saves a new endpoint; its secret, which is shown now and never again."""
    secret = signing.new_secret()
    endpoint.sealed_secret = seal(secret, purpose=signing.PURPOSE)
    endpoint.save()
    record_audit(actor=actor, business=endpoint.business_id, action=AuditAction.CREATED, target=endpoint)
    transaction.on_commit(outbox.forget_subscriptions)
    return secret


@transaction.atomic
def rotate_secret(*, actor: Actor, endpoint: WebhookEndpoint, now: datetime) -> str:
    """A new secret; for a day both sign, so that the receiver can change over without losing a message."""
    secret = signing.new_secret()
    endpoint.sealed_previous_secret, endpoint.previous_secret_until = endpoint.sealed_secret, now + OVERLAP
    endpoint.sealed_secret = seal(secret, purpose=signing.PURPOSE)
    endpoint.save(update_fields=["sealed_secret", "sealed_previous_secret", "previous_secret_until"])
    record_audit(
        actor=actor,
        business=endpoint.business_id,
        action=AuditAction.CHANGED,
        target=endpoint,
        changes={"secret": ["…", "…"]},
    )
    return secret


@transaction.atomic
def ping(*, endpoint: WebhookEndpoint, now: datetime) -> WebhookMessage:
    """Sends a test event, whatever the endpoint is subscribed to. Raises Conflict for one that is switched off."""
    if not endpoint.is_active:
        raise Conflict("Switch the webhook on first.")
    data: dict[str, Any] = {"webhook": endpoint.name}
    return outbox.post(
        business_id=endpoint.business_id, event=events.PING, data=data, endpoint_ids=[endpoint.pk], now=now
    )


@transaction.atomic
def replay(*, delivery: WebhookDelivery, now: datetime) -> None:
    """Sends a message once more, under its own id, so that a receiver that had it knows it again."""
    if not delivery.endpoint.is_active:
        raise Conflict("Switch the webhook on first.")
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.PENDING, attempts=0, next_attempt_at=now, finished_at=None
    )
    outbox.send_soon(delivery.business_id, delivery.pk)


def tell_of_conversation(event: Event, conversation: Conversation) -> None:
    notify(business_id=conversation.business_id, event=event, data=events.of_conversation(conversation))


def tell_of_message(conversation: Conversation, log: ChatLog) -> None:
    notify(business_id=conversation.business_id, event=Event.MESSAGE_CREATED, data=events.of_message(conversation, log))
