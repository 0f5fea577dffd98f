"""One Idempotency-Key, one effect: the first reply is kept a day and given again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import datetime, timedelta

from accounts.principals import Principal, PrincipalKind
from chats.models import IdempotencyRecord
from chats.replies import Taken
from mia.lib.errors import IdempotencyConflict, InvalidRequest

KEPT = timedelta(hours=48)
MAX_KEY_CHARS = 255
UNGUESSABLE_CHARS = 16


@dataclasses.dataclass(frozen=True)
class Claim:
    """A key that is ours to use, or the reply that it got before."""

    record_id: int
    earlier_reply: Taken | None = None


def check_key(key: str) -> str:
    if len(key) > MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key


def fingerprint(request: object) -> str:
    """Equal for equal requests; `request` is a dataclass of JSON values."""
    text = json.dumps(dataclasses.asdict(request), sort_keys=True, default=str)  # type: ignore[call-overload]
    return hashlib.sha256(text.encode()).hexdigest()


def holder_of(principal: Principal, key: str, client_address: str) -> str:
    """Whose keys these are.

    All visitors of a site share one publishable key, and a reply opens a session: so one visitor must not be able to
    guess another's Idempotency-Key. A short one counts for the visitor's address only.
    """
    shared = principal.kind == PrincipalKind.PUBLISHABLE and len(key) < UNGUESSABLE_CHARS
    return f"{principal.pk}@{client_address}"[:100] if shared else principal.pk


def claim(*, business_id: int, holder: str, key: str, request_hash: str, now: datetime) -> Claim:
    """Waits for a concurrent duplicate to end; raises IdempotencyConflict when the key stands for another request."""
    record_id = IdempotencyRecord.objects.all().claim(
        business_id=business_id, principal=holder, key=key, request_hash=request_hash, now=now
    )
    if record_id is not None:
        return Claim(record_id)
    record = IdempotencyRecord.objects.for_business(business_id).get(principal=holder, key=key)
    if record.request_hash != request_hash:
        raise IdempotencyConflict
    return Claim(record.pk, record.response)


def remember(claim: Claim, reply: Taken) -> None:
    IdempotencyRecord.objects.filter(pk=claim.record_id).update(status=200, response=reply)
