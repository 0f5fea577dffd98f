"""How much visitors may send: by session and address as the business says, and in all on one of its days.

The speeds are buckets in Redis. A day's count is kept there too, in one script, so that no number of requests at once
gets past it; where Redis lost it, it is taken from the chat logs again.
"""

from __future__ import annotations

import math
import zoneinfo
from datetime import datetime, timedelta
from typing import Any, Final

from redis.exceptions import RedisError

from chats.choices import Role
from chats.models import ChatLog, Conversation
from chats.policies import Policy
from mia.lib.errors import RateLimited
from mia.lib.ratelimit import Bucket, take
from mia.lib.redis import sync_redis

MINUTE_S: Final = 60
DAY_S: Final = 24 * 3600
KEPT_S: Final = 26 * 3600
SPENT: Final = "No more messages are taken today."
# Returns 1 when the message counts, 0 when the day's share is spent, -1 when the count has to be told first.
SPEND_SCRIPT: Final = """
local spent = redis.call('GET', KEYS[1])
if not spent then
  if ARGV[2] == '' then return -1 end
  spent = ARGV[2]
  redis.call('SET', KEYS[1], spent, 'EX', ARGV[3])
end
if tonumber(spent) >= tonumber(ARGV[1]) then return 0 end
redis.call('INCR', KEYS[1])
return 1
"""


def spend(conversation: Conversation, policy: Policy, *, address_hash: str, now: datetime) -> None:
    """Takes one message from every share that it counts against; raises RateLimited."""
    rules, session = policy.rules, str(conversation.public_id)
    take(_per_minute("visitor", rules.session_per_minute), session).require()
    take(Bucket("chat-visitor-rules-day", rules.session_per_day / DAY_S, rules.session_per_day), session).require()
    if address_hash:
        take(_per_minute("address", rules.address_per_minute), address_hash).require()
    if policy.bot_quota is not None:
        _spend_of_day(conversation, policy.bot_quota, now, bot_id=conversation.bot_id)
    if policy.business_quota is not None:
        _spend_of_day(conversation, policy.business_quota, now)


def _per_minute(whose: str, most: int) -> Bucket:
    return Bucket(f"chat-{whose}-minute", rate_per_s=most / MINUTE_S, burst=most)


def _spend_of_day(conversation: Conversation, quota: int, now: datetime, bot_id: int | None = None) -> None:
    local = now.astimezone(zoneinfo.ZoneInfo(conversation.business.time_zone))
    key = f"mia:quota:{conversation.business_id}:{bot_id or 'all'}:{local:%Y%m%d}"
    try:
        counts = _count(key, quota, "")
        if counts == -1:
            said = _said_since(conversation, _midnight(local), bot_id)
            counts = _count(key, quota, str(said))
    except RedisError:
        return
    if counts == 0:
        tomorrow = _midnight(local + timedelta(days=1))
        raise RateLimited(SPENT, retry_after_s=max(1, math.ceil((tomorrow - now).total_seconds())))


def _count(key: str, quota: int, spent: str) -> int:
    reply: Any = sync_redis().eval(SPEND_SCRIPT, 1, key, str(quota), spent, str(KEPT_S))
    return int(reply)


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _said_since(conversation: Conversation, since: datetime, bot_id: int | None) -> int:
    said = ChatLog.objects.for_business(conversation.business_id).filter(role=Role.USER, timestamp__gte=since)
    return int(said.filter(conversation__bot=bot_id).count() if bot_id else said.count())
