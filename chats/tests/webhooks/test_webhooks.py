"""What a business's own server is told: signed, once per event, again until it was taken, never to a private place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.tenancy import business_scope, platform_scope
from chats.choices import DeliveryState
from chats.models import Bot, WebhookDelivery, WebhookEndpoint
from chats.tests.callers import Caller
from chats.tests.webhooks.receiver import Receiver
from chats.webhooks import delivering, duties, outbox, services
from chats.webhooks.events import Event
from mia.lib.errors import Conflict

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    made = Receiver()
    settings.OUTBOUND_ALLOW_PRIVATE = True
    settings.OUTBOUND_ALLOWED_PORTS = [made.server.server_port]
    yield made
    made.close()


@pytest.fixture
def secret(bot: Bot, receiver: Receiver) -> str:
    """Of an endpoint that wants everything."""
    endpoint = WebhookEndpoint(business=bot.business, name="Shop", url=receiver.url, events=list(Event.values))
    with platform_scope():
        made = services.add_endpoint(actor=None, endpoint=endpoint)
    outbox.forget_subscriptions()
    return made


def endpoint_of(bot: Bot) -> WebhookEndpoint:
    with platform_scope():
        return WebhookEndpoint.objects.get(business=bot.business)


def ping(bot: Bot) -> None:
    with platform_scope():
        services.ping(endpoint=endpoint_of(bot), now=timezone.now())


def deliveries() -> list[WebhookDelivery]:
    with platform_scope():
        return list(WebhookDelivery.objects.select_related("message", "endpoint").order_by("pk"))


def deliver_all(after: timedelta = timedelta(0)) -> None:
    for delivery in deliveries():
        now = timezone.now() + after
        delivering.deliver(business_id=delivery.business_id, delivery_id=delivery.pk, now=now)


def test_what_happens_in_a_conversation_is_told_signed_and_in_order(
    visitor: Caller, receiver: Receiver, secret: str
) -> None:
    visitor.asked("What does a tyre cost?")
    visitor.post(f"/chat/{visitor.session_id}/lead", {"email": "a@example.org"})
    visitor.post(f"/chat/{visitor.session_id}/handoff", {})
    visitor.post(f"/chat/{visitor.session_id}/csat", {"score": 5})
    deliver_all()
    told = [Webhook(secret).verify(taken.body, taken.headers) for taken in receiver.taken]
    assert [event["type"] for event in told] == [
        "conversation.started", "message.created", "lead.created", "handoff.requested", "rating.given",
    ]  # fmt: skip
    assert {event["data"]["session_id"] for event in told} == {visitor.session_id}
    assert (told[1]["data"]["role"], told[1]["data"]["content"]) == ("user", "What does a tyre cost?")
    assert all(delivery.state == DeliveryState.DELIVERED for delivery in deliveries())
    assert (deliveries()[0].http_status, deliveries()[0].excerpt) == (200, "fine")


def test_an_event_of_a_transaction_that_is_undone_is_never_told(bot: Bot, secret: str) -> None:
    with business_scope(bot.business_id), pytest.raises(ZeroDivisionError), transaction.atomic():
        services.notify(business_id=bot.business_id, event=Event.LEAD_CREATED, data={})
        raise ZeroDivisionError
    assert deliveries() == []


def test_what_was_not_taken_is_sent_again_later_under_the_same_id(bot: Bot, receiver: Receiver, secret: str) -> None:
    receiver.statuses = [500]
    ping(bot)
    deliver_all()
    (delivery,) = deliveries()
    assert (delivery.state, delivery.attempts, delivery.http_status) == (DeliveryState.PENDING, 1, 500)
    assert delivery.excerpt == "it answered 500"
    assert endpoint_of(bot).failing_since is not None
    deliver_all()
    assert len(receiver.taken) == 1, "not before its time"
    deliver_all(timedelta(seconds=6))
    first, second = receiver.taken
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert deliveries()[0].state == DeliveryState.DELIVERED
    assert endpoint_of(bot).failing_since is None


def test_two_workers_send_a_message_once(bot: Bot, receiver: Receiver, secret: str) -> None:
    now = timezone.now()
    ping(bot)
    deliver_all()
    deliver_all()
    assert len(receiver.taken) == 1
    with platform_scope():
        WebhookDelivery.objects.update(state=DeliveryState.PENDING, next_attempt_at=now)
        assert duties.queue_due(now=now) == 0, "a worker was just told"
        assert duties.queue_due(now=now + timedelta(minutes=1)) == 1


def test_an_endpoint_that_is_gone_or_never_answers_is_switched_off(bot: Bot, receiver: Receiver, secret: str) -> None:
    receiver.statuses = [410]
    ping(bot)
    deliver_all()
    assert deliveries()[0].state == DeliveryState.FAILED
    assert (endpoint_of(bot).is_active, endpoint_of(bot).disabled_reason[:11]) == (False, "It answered")
    with pytest.raises(Conflict):
        ping(bot)


def test_a_message_is_given_up_after_its_last_try_and_can_be_replayed(
    bot: Bot, receiver: Receiver, secret: str
) -> None:
    ping(bot)
    with platform_scope():
        WebhookDelivery.objects.update(attempts=len(delivering.RETRIES))
    receiver.statuses = [503]
    deliver_all()
    (delivery,) = deliveries()
    assert delivery.state == DeliveryState.FAILED
    with platform_scope():
        services.replay(delivery=delivery, now=timezone.now())
    deliver_all()
    assert deliveries()[0].state == DeliveryState.DELIVERED


def test_both_secrets_sign_for_a_day_after_a_rotation(bot: Bot, receiver: Receiver, secret: str) -> None:
    with platform_scope():
        fresh = services.rotate_secret(actor=None, endpoint=endpoint_of(bot), now=timezone.now())
    ping(bot)
    deliver_all()
    (taken,) = receiver.taken
    for known in (secret, fresh):
        assert json.loads(taken.body) == Webhook(known).verify(taken.body, taken.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(fresh).verify(taken.body + b" ", taken.headers)
    assert delivering.secrets_of(endpoint_of(bot), timezone.now() + services.OVERLAP * 2) == [fresh]


def test_an_address_inside_our_own_network_is_never_called(
    bot: Bot, receiver: Receiver, secret: str, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW_PRIVATE = False
    ping(bot)
    deliver_all()
    assert receiver.taken == []
    assert deliveries()[0].excerpt == "the address is not public"


def test_an_endpoint_that_was_just_deleted_undoes_nothing(visitor: Caller, bot: Bot, secret: str) -> None:
    visitor.asked("Hello")
    with platform_scope():
        WebhookEndpoint.objects.all().delete()
    visitor.asked("Still there?")
    with business_scope(bot.business_id):
        connection.check_constraints()
    assert deliveries() == []


def test_a_try_that_comes_back_late_changes_nothing_that_was_done_meanwhile(
    bot: Bot, receiver: Receiver, secret: str
) -> None:
    ping(bot)
    (delivery,) = deliveries()
    with platform_scope():
        claimed = delivering._claim(delivery.pk, timezone.now())
        assert claimed is not None
        services.replay(delivery=claimed, now=timezone.now())
        WebhookEndpoint.objects.update(is_active=False, disabled_reason="By staff.")
        delivering._note(claimed, delivering.Outcome(500, 3, "late"), timezone.now())
        assert WebhookDelivery.objects.get().attempts == 0
        delivering._note_failure(claimed.endpoint_id, delivering.Outcome(410, 3, "gone"), timezone.now())
    assert (endpoint_of(bot).is_active, endpoint_of(bot).disabled_reason) == (False, "By staff.")
