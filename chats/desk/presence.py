"""Who else looks at a conversation, and who writes: in Redis, seconds old, and of no consequence when it is lost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, cast

from redis.exceptions import RedisError

from accounts.models import User
from chats.models import Conversation
from mia.lib.redis import sync_redis

LOOKS_FOR_S: Final = 8.0
WRITES_FOR_S: Final = 5.0
KEPT_S: Final = 30


@dataclass(frozen=True)
class Colleague:
    """Somebody else with this conversation open."""

    name: str
    is_writing: bool


def look(conversation: Conversation, agent: User, *, is_writing: bool = False) -> None:
    """This agent has the page open, or writes in it."""
    key, now = _key(conversation), f"{time.time():.1f}"
    told = {f"looks:{agent.pk}": now, f"name:{agent.pk}": agent.get_short_name()[:80]}
    if is_writing:
        told[f"writes:{agent.pk}"] = now
    try:
        pipeline = sync_redis().pipeline(transaction=False)
        pipeline.hset(key, mapping=told)
        pipeline.expire(key, KEPT_S)
        pipeline.execute()
    except RedisError:
        return


def colleagues(conversation: Conversation, agent: User) -> list[Colleague]:
    """Others who look, by name; [] while Redis is away."""
    try:
        told = cast("dict[str, str]", sync_redis().hgetall(_key(conversation)))
    except RedisError:
        return []
    now = time.time()
    people = {name.partition(":")[2] for name in told if name.startswith("looks:")} - {str(agent.pk)}
    here = [pk for pk in people if now - float(told[f"looks:{pk}"]) < LOOKS_FOR_S]
    found = [
        Colleague(told.get(f"name:{pk}", ""), now - float(told.get(f"writes:{pk}", 0)) < WRITES_FOR_S) for pk in here
    ]
    return sorted(found, key=lambda colleague: colleague.name)


def _key(conversation: Conversation) -> str:
    return f"mia:desk:{conversation.pk}"
