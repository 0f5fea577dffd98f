"""One try to deliver: claimed so that no two workers send it at once, sent outside of any transaction, written down."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.tenancy import business_scope
from chats.choices import DeliveryState
from chats.models import WebhookDelivery, WebhookEndpoint, WebhookMessage
from chats.models.webhooks import EXCERPT_CHARS
from chats.webhooks import signing
from mia.lib.errors import format_timestamp
from mia.lib.http import OutboundError, post_bytes
from mia.lib.sealing import Unreadable, unseal

TIMEOUT_S: Final = 15.0
CLAIMED_FOR: Final = timedelta(minutes=2)
RETRIES: Final = tuple(timedelta(seconds=s) for s in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""Waits between tries, nearly three days in all, as the Standard Webhooks specification advises."""
SWITCHED_OFF_AFTER: Final = timedelta(days=3)
GONE: Final = 410


@dataclass(frozen=True)
class Outcome:
    """How a try went; `http_status` is None where there was no reply."""

    http_status: int | None
    latency_ms: int
    excerpt: str

    @property
    def is_taken(self) -> bool:
        return self.http_status is not None and 200 <= self.http_status < 300


def deliver(*, business_id: int, delivery_id: int, now: datetime) -> None:
    with business_scope(business_id):
        claimed = _claim(delivery_id, now)
    if claimed is None:
        return
    outcome = _send(claimed)
    with business_scope(business_id):
        _note(claimed, outcome, timezone.now())


def _claim(delivery_id: int, now: datetime) -> WebhookDelivery | None:
    due = WebhookDelivery.objects.filter(pk=delivery_id, state=DeliveryState.PENDING, next_attempt_at__lte=now)
    if not due.update(next_attempt_at=now + CLAIMED_FOR, attempts=F("attempts") + 1):
        return None
    delivery: WebhookDelivery = WebhookDelivery.objects.select_related("message", "endpoint").get(pk=delivery_id)
    if delivery.endpoint.is_active:
        return delivery
    WebhookDelivery.objects.filter(pk=delivery_id).update(state=DeliveryState.FAILED, finished_at=now)
    return None


def _send(delivery: WebhookDelivery) -> Outcome:
    message, endpoint = delivery.message, delivery.endpoint
    body = body_of(message)
    started = time.monotonic()
    try:
        headers = signing.signature_headers(
            message_id=f"msg_{message.public_id.hex}",
            timestamp=int(time.time()),
            body=body,
            signing_secrets=secrets_of(endpoint, timezone.now()),
        )
        headers["Content-Type"] = "application/json"
        reply = post_bytes(endpoint.url, body, headers=headers, timeout_s=TIMEOUT_S)
    except OutboundError as error:
        return Outcome(error.http_status, _ms_since(started), error.reason)
    except Unreadable:
        return Outcome(None, 0, _("Its secret cannot be read any more: make a new one."))
    return Outcome(reply.status, _ms_since(started), reply.text)


def body_of(message: WebhookMessage) -> bytes:
    told = {"type": message.event, "timestamp": format_timestamp(message.created_at), "data": message.data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def secrets_of(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """The present secret, and for a day after a rotation the one before. Raises Unreadable."""
    sealed = [endpoint.sealed_secret]
    if endpoint.previous_secret_until is not None and now < endpoint.previous_secret_until:
        sealed.append(endpoint.sealed_previous_secret)
    return [unseal(secret, purpose=signing.PURPOSE) for secret in sealed]


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def _note(delivery: WebhookDelivery, outcome: Outcome, now: datetime) -> None:
    """Nothing where the delivery was replayed, or taken up by another worker, while this try was on its way."""
    told: dict[str, Any] = {
        "http_status": outcome.http_status,
        "latency_ms": outcome.latency_ms,
        "excerpt": outcome.excerpt.replace("\x00", "")[:EXCERPT_CHARS],
    }
    if outcome.is_taken:
        told |= {"state": DeliveryState.DELIVERED, "finished_at": now}
        WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).exclude(failing_since=None).update(failing_since=None)
    elif delivery.attempts > len(RETRIES) or outcome.http_status == GONE:
        told |= {"state": DeliveryState.FAILED, "finished_at": now}
    else:
        told |= {"next_attempt_at": now + RETRIES[delivery.attempts - 1]}
    same_try = WebhookDelivery.objects.filter(
        pk=delivery.pk,
        state=DeliveryState.PENDING,
        attempts=delivery.attempts,
        next_attempt_at=delivery.next_attempt_at,
    )
    if same_try.update(**told) and not outcome.is_taken:
        _note_failure(delivery.endpoint_id, outcome, now)


def _note_failure(endpoint_id: int, outcome: Outcome, now: datetime) -> None:
    """An address that never answers is left alone after three days, and one that says it is gone at once.

    Statements that only ever switch off: what staff or another worker did meanwhile stands.
    """
    endpoint = WebhookEndpoint.objects.filter(pk=endpoint_id, is_active=True)
    endpoint.filter(failing_since=None).update(failing_since=now)
    if outcome.http_status == GONE:
        endpoint.update(is_active=False, disabled_reason=_("It answered that it is gone (410)."))
        return
    endpoint.filter(failing_since__lt=now - SWITCHED_OFF_AFTER).update(
        is_active=False, disabled_reason=_("Nothing was taken for three days.")
    )
