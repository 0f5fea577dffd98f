"""Who may ask now: speed limits in Redis, and back-pressure from the queue itself."""

from __future__ import annotations

from datetime import datetime

from accounts.principals import Principal, PrincipalKind
from mia.lib.errors import NoCapacity, RateLimited
from mia.lib.ratelimit import Bucket, take
from miners.choices import Lane
from miners.models import Job
from miners.services import has_capacity

DAY_S = 24 * 3600
KEY_BUCKETS = {
    PrincipalKind.PUBLISHABLE: Bucket("chat-widget", rate_per_s=50, burst=200),
    PrincipalKind.SECRET: Bucket("chat-server", rate_per_s=200, burst=400),
    PrincipalKind.DASHBOARD: Bucket("chat-dashboard", rate_per_s=50, burst=200),
}
BUSINESS_BUCKET = Bucket("chat-business", rate_per_s=200, burst=400)
VISITOR_BUCKET = Bucket("chat-visitor", rate_per_s=1, burst=5)
VISITOR_DAY_BUCKET = Bucket("chat-visitor-day", rate_per_s=300 / DAY_S, burst=300)
NEW_SESSION_BUCKET = Bucket("chat-new-session", rate_per_s=20 / 60, burst=20)

QUEUE_CAP = 100
LONG_QUEUE = 20
QUEUE_RETRY_S = 5


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


def check_queue(business_id: int) -> int:
    """How many questions of the business wait already; more than enough is refused."""
    queued = Job.objects.filter(business_id=business_id, lane=Lane.CHAT).queued()
    waiting = queued.order_by()[:QUEUE_CAP].count()
    if waiting >= QUEUE_CAP:
        raise RateLimited("Too many questions are waiting already.", retry_after_s=QUEUE_RETRY_S)
    return waiting


def check_capacity(job: Job, waiting: int, now: datetime) -> None:
    """Refuses a job that nobody online could do while others wait; the caller's transaction takes it back."""
    if waiting >= LONG_QUEUE and not has_capacity(job=job, now=now):
        raise NoCapacity


def _spend(bucket: Bucket, key: str) -> None:
    take(bucket, key).require()
