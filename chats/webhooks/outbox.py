"""The outbox: an event is written down in the transaction that makes it true, and sent after its commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from accounts.recent import RecentAnswers
from chats.models import WebhookEndpoint, WebhookMessage
from chats.webhooks import tasks

Subscriptions = Sequence[tuple[int, frozenset[str]]]

REMEMBERED_S: Final = 2.0
REMEMBERED: Final = 10_000

# The endpoints are held until the commit: one that is deleted meanwhile must not undo what a visitor has done.
DELIVERIES: Final = """
INSERT INTO chats_webhookdelivery (business_id, message_id, endpoint_id, state, attempts, next_attempt_at, excerpt)
SELECT e.business_id, %(message)s, e.id, 'pending', 0, %(now)s, ''
FROM chats_webhookendpoint e WHERE e.business_id = %(business)s AND e.id = ANY (%(ids)s)
FOR KEY SHARE OF e
RETURNING id
"""

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
    with connection.cursor() as cursor:
        cursor.execute(
            DELIVERIES, {"message": message.pk, "business": business_id, "ids": list(endpoint_ids), "now": now}
        )
        for (delivery_id,) in cursor.fetchall():
            send_soon(business_id, delivery_id)
    return message


def send_soon(business_id: int, delivery_id: int) -> None:
    """Queues it when the transaction commits; what RQ loses, the dispatcher finds again."""
    transaction.on_commit(lambda: tasks.deliver.enqueue(business_id=business_id, delivery_id=delivery_id), robust=True)


def forget_subscriptions() -> None:
    """Has every endpoint read again, in this process."""
    _subscriptions.clear()


def _subscribed(business_id: int) -> Subscriptions:
    return _subscriptions.get(business_id, lambda: _read(business_id))


def _read(business_id: int) -> Subscriptions:
    rows = WebhookEndpoint.objects.for_business(business_id).filter(is_active=True).values_list("pk", "events")
    return [(pk, frozenset(events)) for pk, events in rows]
