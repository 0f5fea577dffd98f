"""Who may ask now: speed limits in Redis, and back-pressure from the queue itself."""

from __future__ import annotations

import time
from typing import Any

from django.db import connection

from accounts.principals import Principal, PrincipalKind
from chats.waiting import Place
from mia.lib.errors import NoCapacity, RateLimited
from mia.lib.ratelimit import Bucket, take
from miners.choices import Trust
from miners.limits import MINER_OFFLINE
from miners.models import Job

DAY_S = 24 * 3600
KEY_BUCKETS = {
    PrincipalKind.PUBLISHABLE: Bucket("chat-widget", rate_per_s=50, burst=200),
    PrincipalKind.SECRET: Bucket("chat-server", rate_per_s=200, burst=400),
    PrincipalKind.CLIENT: Bucket("chat-client", rate_per_s=50, burst=200),
    PrincipalKind.DASHBOARD: Bucket("chat-dashboard", rate_per_s=50, burst=200),
}
BUSINESS_BUCKET = Bucket("chat-business", rate_per_s=200, burst=400)
VISITOR_BUCKET = Bucket("chat-visitor", rate_per_s=1, burst=5)
VISITOR_DAY_BUCKET = Bucket("chat-visitor-day", rate_per_s=300 / DAY_S, burst=300)
NEW_SESSION_BUCKET = Bucket("chat-new-session", rate_per_s=20 / 60, burst=20)

QUEUE_CAP = 100
LONG_QUEUE = 20
QUEUE_RETRY_S = 5
QUEUE_FULL = "Too many questions are waiting already."
FULL_REMEMBERED_S = 0.5
MOST_REMEMBERED = 10_000

_full_until: dict[int, float] = {}

STANDING = """
WITH mine AS (
    SELECT count(*) AS waiting FROM (
        SELECT FROM miners_job
        WHERE state = 'queued' AND lane = %(lane)s AND business_id = %(business)s LIMIT %(most)s
    ) own
)
SELECT waiting,
       (SELECT count(*) FROM miners_job
        WHERE state = 'queued' AND (lane, virtual_start) < (%(lane)s, %(virtual_start)s)),
       (SELECT coalesce(sum(slots), 0) FROM miners_miner WHERE status IN ('idle', 'busy')),
       waiting <= %(long)s OR EXISTS (
           SELECT 1 FROM miners_miner m
           WHERE m.last_active > now() - %(offline)s::interval AND m.status NOT IN ('offline', 'draining', 'paused')
             AND m.trust >= %(trust)s AND m.max_context >= %(context)s AND m.features @> %(features)s::varchar[]
             AND (%(model)s = '' OR %(model)s = ANY (m.model_ids))
       )
FROM mine
"""


def check_key(principal: Principal) -> None:
    """The speed of one credential and of its business, before anything is read for it."""
    _spend(KEY_BUCKETS[principal.kind], principal.pk)
    _spend(BUSINESS_BUCKET, str(principal.business_id))


def check_visitor(visitor: str) -> None:
    """The speed of one session, whatever brings its messages."""
    _spend(VISITOR_BUCKET, visitor)
    _spend(VISITOR_DAY_BUCKET, visitor)


def check_new_session(principal: Principal, client_address: str) -> None:
    """How fast one address opens sessions through a widget; a business's server opens them for everybody."""
    if principal.kind == PrincipalKind.PUBLISHABLE:
        _spend(NEW_SESSION_BUCKET, f"{principal.business_id}:{client_address}")


def check_queue(business_id: int) -> None:
    """Refuses at once while the business's queue was just seen full, so that a flood costs no database work."""
    if time.monotonic() < _full_until.get(business_id, 0.0):
        raise RateLimited(QUEUE_FULL, retry_after_s=QUEUE_RETRY_S)


def admit(job: Job) -> Place:
    """Where a job that was just submitted stands. Runs in platform scope; one statement.

    Raises RateLimited when enough questions of its business wait already, and NoCapacity when many wait and nobody is
    online who could take this one; the caller's transaction then takes the job back.
    """
    with connection.cursor() as cursor:
        cursor.execute(STANDING, _parameters(job))
        waiting, ahead, slots, has_capacity = cursor.fetchone()
    if waiting > QUEUE_CAP:
        _note_full(job.business_id)
        raise RateLimited(QUEUE_FULL, retry_after_s=QUEUE_RETRY_S)
    if not has_capacity:
        raise NoCapacity
    return Place.of(ahead + 1, slots)


def _parameters(job: Job) -> dict[str, Any]:
    return {
        "business": job.business_id,
        "lane": job.lane,
        "virtual_start": job.virtual_start,
        "trust": max(job.min_trust, Trust.VERIFIED),
        "context": job.context_tokens + job.max_tokens,
        "features": list(job.features),
        "model": job.model,
        "long": LONG_QUEUE,
        "most": QUEUE_CAP + 1,
        "offline": MINER_OFFLINE,
    }


def _note_full(business_id: int | None) -> None:
    if len(_full_until) > MOST_REMEMBERED:
        _full_until.clear()
    _full_until[business_id or 0] = time.monotonic() + FULL_REMEMBERED_S


def _spend(bucket: Bucket, key: str) -> None:
    take(bucket, key).require()
