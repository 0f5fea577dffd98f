"""The outbox: an event is written down in the transaction that makes it true, and sent after its commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.recent import RecentAnswers
from chats.models import WebhookDelivery, WebhookEndpoint, WebhookMessage
from chats.webhooks import tasks

Subscriptions = Sequence[tuple[int, frozenset[str]]]

REMEMBERED_S: Final = 2.0
REMEMBERED: Final = 10_000

_subscriptions: RecentAnswers[Subscriptions] = RecentAnswers(REMEMBERED_S, REMEMBERED)


def notify(*, business_id: int, event: str, data: Mapping[str, Any]) -> WebhookMessage | None:
    """Writes the event down for every endpoint that wants it; None where none does. In the caller's transaction."""
    endpoint_ids = [pk for pk, events in _subscribed(business_id) if event in events]
    if not endpoint_ids:
        return None
    return post(business_id=business_id, event=event, data=data, endpoint_ids=endpoint_ids, now=timezone.now())


def post(
    *, business_id: int, event: str, data: Mapping[str, Any], endpoint_ids: Sequence[int], now: datetime
) -> WebhookMessage:
    message: WebhookMessage = WebhookMessage.objects.create(
        business_id=business_id, event=event, data=dict(data), created_at=now
    )
    deliveries = WebhookDelivery.objects.bulk_create(
        WebhookDelivery(business_id=business_id, message=message, endpoint_id=endpoint_id, next_attempt_at=now)
        for endpoint_id in _still_there(business_id, endpoint_ids)
    )
    for delivery in deliveries:
        send_soon(delivery)
    return message


def _still_there(business_id: int, endpoint_ids: Sequence[int]) -> Sequence[int]:
    """Held until the commit: an endpoint that is deleted meanwhile must not undo what a visitor has done."""
    endpoints = WebhookEndpoint.objects.for_business(business_id).filter(pk__in=endpoint_ids)
    return list(endpoints.select_for_update(key=True, no_key=True).values_list("pk", flat=True))


def send_soon(delivery: WebhookDelivery) -> None:
    """Queues it when the transaction commits; what RQ loses, the dispatcher finds again."""
    business_id, pk = delivery.business_id, delivery.pk
    transaction.on_commit(lambda: tasks.deliver.enqueue(business_id=business_id, delivery_id=pk), robust=True)


def forget_subscriptions() -> None:
    """Has every endpoint read again, in this process."""
    _subscriptions.clear()


def _subscribed(business_id: int) -> Subscriptions:
    return _subscriptions.get(business_id, lambda: _read(business_id))


def _read(business_id: int) -> Subscriptions:
    rows = WebhookEndpoint.objects.for_business(business_id).filter(is_active=True).values_list("pk", "events")
    return [(pk, frozenset(events)) for pk, events in rows]
