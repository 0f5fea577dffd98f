"""Fairness between tenants: who was served least goes first (start-time fair queueing over weighted tokens).

Each tenant has a virtual token counter per lane; a job is tagged with it when it is submitted, and the lowest tag is
claimed first. A tenant that rested is lifted to the tag claimed last, so that resting earns no credit, and one that
floods the queue only moves its own jobs back. The counters live in Redis: as a row each they would make all questions
of a tenant wait for each other's commit. When they vanish, the next tags start where the queue in PostgreSQL stands.

Source: the virtual token counter of arXiv 2401.00588, with the tags of start-time fair queueing (Goyal et al., 1996).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.db import connection
from redis.client import Pipeline
from redis.exceptions import RedisError

from mia.lib.redis import async_redis, sync_redis
from miners.choices import JobKind, JobState
from miners.limits import OUTPUT_WEIGHT
from miners.models import Job

PLATFORM: Final = 0
CLAIMED_LAST: Final = "claimed"

# KEYS: the lane's counters. ARGV: tenant, cost, where to start when Redis knows nothing ('' asks for it).
NEXT_TAG_SCRIPT: Final = """
local claimed = redis.call('HGET', KEYS[1], 'claimed') or ARGV[3]
if claimed == '' then return nil end
local tag = math.max(tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0), tonumber(claimed))
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', tag + ARGV[2]), 'claimed', claimed)
return string.format('%.0f', tag)
"""

NOTE_CLAIMED_SCRIPT: Final = """
local claimed = tonumber(redis.call('HGET', KEYS[1], 'claimed') or 0)
if tonumber(ARGV[1]) > claimed then redis.call('HSET', KEYS[1], 'claimed', ARGV[1]) end
"""

WHERE_THE_QUEUE_STANDS: Final = """
SELECT coalesce(
    (SELECT min(virtual_start) FROM miners_job WHERE state = 'queued' AND lane = %(lane)s AND kind <> 'canary'),
    (SELECT max(virtual_start) FROM miners_job WHERE state IN ('offered', 'running') AND lane = %(lane)s),
    0)
"""


def cost_of(context_tokens: int, output_tokens: int) -> int:
    """Weighted tokens: writing one costs a GPU about twice what reading one does."""
    return context_tokens + OUTPUT_WEIGHT * output_tokens


def next_tag(*, tenant: int | None, lane: int, cost: int) -> int:
    """The tag of a job that is submitted now; charges its estimated cost. Runs in platform scope.

    Without Redis the queue is first come, first served within what stands in it.
    """
    try:
        tag = _next_tag(tenant, lane, cost, start="")
        return int(tag if tag is not None else _next_tag(tenant, lane, cost, start=str(_where_the_queue_stands(lane))))
    except RedisError:
        return _where_the_queue_stands(lane)


def settle(pipeline: Pipeline, job: Job) -> None:
    """Replaces the estimate that the tenant was charged by what an ended job really cost.

    A canary cost nobody, and an answer that no miner gave was never charged for.
    """
    was_never_queued = job.state == JobState.COMPLETED and not job.attempt_count
    if job.kind == JobKind.CANARY or was_never_queued:
        return
    charged = cost_of(job.context_tokens, job.max_tokens)
    used = 0
    if job.state == JobState.COMPLETED:
        used = cost_of(job.prompt_tokens or job.context_tokens, job.tokens_generated)
    pipeline.hincrby(counters_key(job.lane), str(job.business_id or PLATFORM), used - charged)


async def note_claimed(offers: Iterable[Mapping[str, Any]]) -> None:
    """Moves each lane's clock to the highest tag that was handed out; raises RedisError."""
    highest: dict[int, int] = {}
    for offer in offers:
        if offer["kind"] != JobKind.CANARY:
            highest[offer["lane"]] = max(highest.get(offer["lane"], 0), offer["virtual_start"])
    for lane, tag in highest.items():
        noted: Any = async_redis().eval(NOTE_CLAIMED_SCRIPT, 1, counters_key(lane), str(tag))
        await noted


def counters_key(lane: int) -> str:
    return f"mia:share:{int(lane)}"


def _next_tag(tenant: int | None, lane: int, cost: int, *, start: str) -> Any:
    return sync_redis().eval(NEXT_TAG_SCRIPT, 1, counters_key(lane), str(tenant or PLATFORM), str(cost), start)


def _where_the_queue_stands(lane: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(WHERE_THE_QUEUE_STANDS, {"lane": lane})
        return int(cursor.fetchone()[0])
