"""What the dispatcher does for webhooks, in platform scope."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from chats.choices import DeliveryState
from chats.models import WebhookDelivery, WebhookMessage
from chats.webhooks import outbox

KEPT: Final = timedelta(days=30)
BATCH: Final = 200
GRACE: Final = timedelta(seconds=3)
"""A worker that was just told of a delivery is not told of it twice."""


def queue_due(*, now: datetime) -> int:
    """Gives every delivery that is due to a worker again: retries, and what a dead worker or Redis lost."""
    due = WebhookDelivery.objects.filter(state=DeliveryState.PENDING, next_attempt_at__lte=now - GRACE)
    deliveries = list(due.order_by("next_attempt_at")[:BATCH])
    for delivery in deliveries:
        outbox.send_soon(delivery.business_id, delivery.pk)
    return len(deliveries)


def forget_old_messages(*, now: datetime) -> int:
    """How many rows went with the messages of more than a month ago."""
    deleted, _by_model = WebhookMessage.objects.filter(created_at__lt=now - KEPT).delete()
    return int(deleted)
