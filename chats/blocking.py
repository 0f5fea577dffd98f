"""Visitors who are kept out for a while, by the platform after too many strikes or by staff, with a reason."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from django.utils.crypto import salted_hmac

from accounts.audit import Actor, record_audit
from accounts.choices import AuditAction
from accounts.models import User
from chats.choices import GuardAction, GuardKind
from chats.guardrails import events
from chats.models import Conversation, GuardrailEvent, VisitorBlock
from chats.policies import Policy
from mia.lib.errors import InvalidRequest, RateLimited

HASH_SALT: Final = "chats.address"
STRIKES_COUNT_FOR: Final = timedelta(hours=1)
TOO_MANY_STRIKES: Final = "Too many refused messages."
BLOCKED: Final = "You cannot write here at the moment."
LONG_S: Final = 24 * 3600


def hash_address(business_id: int | None, address: str) -> str:
    """Tells addresses apart within a business, and leads back to none without the platform's key."""
    return salted_hmac(HASH_SALT, f"{business_id}:{address}", algorithm="sha256").hexdigest()[:32] if address else ""


def check_not_blocked(conversation: Conversation, *, address_hash: str, now: datetime) -> None:
    """Raises RateLimited for a visitor who is kept out. One statement, none for a new visitor without an address."""
    blocks = VisitorBlock.objects.for_business(conversation.business_id).in_force(now)
    block = blocks.against(conversation_id=conversation.pk, address_hash=address_hash).first()
    if block is not None:
        left_s = LONG_S if block.until is None else math.ceil((block.until - now).total_seconds())
        raise RateLimited(BLOCKED, retry_after_s=max(1, min(left_s, LONG_S)))


def count_strike(conversation: Conversation, policy: Policy, *, now: datetime) -> VisitorBlock | None:
    """Keeps a visitor out whose refused messages of the last hour are too many. One statement, few more at the end."""
    events_of_talk = GuardrailEvent.objects.for_business(conversation.business_id).filter(conversation=conversation)
    if events_of_talk.strikes_since(now - STRIKES_COUNT_FOR).count() < policy.rules.strikes:
        return None
    until = now + timedelta(minutes=policy.rules.block_minutes)
    events.record(
        business_id=conversation.business_id,
        conversation=conversation,
        kind=GuardKind.ABUSE,
        action=GuardAction.BLOCKED,
        words=TOO_MANY_STRIKES,
        now=now,
    )
    return block(conversation, reason=TOO_MANY_STRIKES, actor=None, until=until, now=now)


def block(
    conversation: Conversation, *, reason: str, actor: Actor, until: datetime | None, now: datetime
) -> VisitorBlock:
    """Keeps out whoever writes in this conversation, and whoever comes from the address that began it."""
    made: VisitorBlock = VisitorBlock.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        address_hash=conversation.address_hash,
        reason=reason[:300],
        blocked_by=str(actor)[:150] if actor else "",
        created_at=now,
        until=until,
    )
    _record(made, actor, {"blocked": True, "reason": made.reason, "until": until})
    return made


def block_by_staff(conversation: Conversation, *, reason: str, agent: User, now: datetime) -> VisitorBlock:
    """Until it is lifted; raises InvalidRequest without a reason."""
    if not reason.strip():
        raise InvalidRequest({"reason": ["Say why, for your colleagues."]})
    return block(conversation, reason=reason.strip(), actor=agent, until=None, now=now)


def is_blocked(conversation: Conversation, now: datetime) -> bool:
    blocks = VisitorBlock.objects.for_business(conversation.business_id).in_force(now)
    mine = blocks.against(conversation_id=conversation.pk, address_hash=conversation.address_hash)
    return bool(mine.exists())


def lift(found: VisitorBlock, *, actor: Actor, now: datetime) -> None:
    """Lets the visitor write again. Idempotent."""
    if found.lifted_at is None:
        found.lifted_at = now
        found.save(update_fields=["lifted_at"])
        _record(found, actor, {"blocked": [True, False]})


def lift_all(conversation: Conversation, *, actor: Actor, now: datetime) -> int:
    """Lifts every block that keeps this conversation's visitor out; how many there were."""
    in_force = VisitorBlock.objects.for_business(conversation.business_id).in_force(now)
    mine = list(in_force.against(conversation_id=conversation.pk, address_hash=conversation.address_hash))
    for found in mine:
        lift(found, actor=actor, now=now)
    return len(mine)


def _record(made: VisitorBlock, actor: Actor, changes: dict[str, object]) -> None:
    record_audit(
        actor=actor,
        business=made.business_id,
        action=AuditAction.PERFORMED,
        target=made.conversation,
        changes=changes,
    )
