"""One Redis subscription per process that feeds every open stream, socket and parked poll in it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from mia.lib.cancellation import end_tasks
from mia.lib.redis import async_redis
from miners.streams import TOPIC_PREFIX, Event

logger = logging.getLogger(__name__)

INBOX_SIZE: Final = 64
RETRY_S: Final = 0.5
READ_TIMEOUT_S: Final = 1.0


class Inbox:
    """The events of one listener: bounded, so that a slow reader costs itself its place and nobody else anything.

    After an overflow, or after the subscription broke, `has_gap` is true: the reader has to catch up from the log.
    A list and a future instead of asyncio's queue and event, which weigh 4 KB where thousands wait.
    """

    __slots__ = ("_events", "_waiter", "has_gap")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._waiter: asyncio.Future[None] | None = None
        self.has_gap = False

    def put(self, event: Event) -> None:
        if len(self._events) < INBOX_SIZE:
            self._events.append(event)
            self._wake()
        else:
            self.note_gap()

    def note_gap(self) -> None:
        self.has_gap = True
        self._wake()

    def clear_gap(self) -> None:
        """Forgets the gap and the stale events, before the log is read."""
        self.has_gap = False
        self._events.clear()

    async def get(self, timeout_s: float) -> Event | None:
        """The next event, or None after the time is up or when a gap was noted; for one reader at a time."""
        if not self._events and not self.has_gap:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
                async with asyncio.timeout(timeout_s):
                    await self._waiter
            except TimeoutError:
                return None
            finally:
                self._waiter = None
        return None if self.has_gap or not self._events else self._events.pop(0)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """The listeners of one event loop, by topic."""

    def __init__(self) -> None:
        self.connected = False
        self._inboxes: dict[str, set[Inbox]] = {}
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[Inbox]:
        """An inbox that gets every event of the topic from now on; while Redis is away it only notes the gap."""
        inbox = Inbox()
        self._inboxes.setdefault(topic, set()).add(inbox)
        try:
            await self._subscribe(topic)
            yield inbox
        finally:
            await self._leave(topic, inbox)

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        await end_tasks([reader] if reader else [])
        await self._drop_connection()

    async def _subscribe(self, topic: str) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_forever(), name="hub")
        if self._pubsub is None or len(self._inboxes[topic]) > 1:
            return
        try:
            await self._pubsub.subscribe(TOPIC_PREFIX + topic)
        except (RedisError, OSError):
            self._note_gaps()

    async def _leave(self, topic: str, inbox: Inbox) -> None:
        listeners = self._inboxes.get(topic, set())
        listeners.discard(inbox)
        if listeners:
            return
        self._inboxes.pop(topic, None)
        if self._pubsub is not None:
            try:
                await self._pubsub.unsubscribe(TOPIC_PREFIX + topic)
            except (RedisError, OSError):
                return

    async def _read_forever(self) -> None:
        while True:
            try:
                await self._read()
            except (RedisError, OSError) as error:
                logger.warning("The event subscription broke: %s", type(error).__name__)
            except Exception:
                logger.exception("The event subscription failed and is made again")
            await self._drop_connection()
            self._note_gaps()
            await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        pubsub = async_redis().pubsub()
        await pubsub.subscribe("mia:hub", *[TOPIC_PREFIX + topic for topic in self._inboxes])
        self._pubsub = pubsub
        # Whoever began to listen while the connection was being made is not subscribed yet.
        await pubsub.subscribe("mia:hub", *[TOPIC_PREFIX + topic for topic in self._inboxes])
        self.connected = True
        self._note_gaps()
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=READ_TIMEOUT_S)
            if message is not None:
                self._deliver(message)

    def _deliver(self, message: dict[str, Any]) -> None:
        listeners = self._inboxes.get(message["channel"].removeprefix(TOPIC_PREFIX))
        if not listeners:
            return
        event = json.loads(message["data"])
        for inbox in tuple(listeners):
            inbox.put(event)

    def _note_gaps(self) -> None:
        for listeners in self._inboxes.values():
            for inbox in listeners:
                inbox.note_gap()

    async def _drop_connection(self) -> None:
        pubsub, self._pubsub, self.connected = self._pubsub, None, False
        if pubsub is not None:
            await asyncio.gather(pubsub.aclose(), return_exceptions=True)  # type: ignore[no-untyped-call]


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """The running event loop's hub."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


async def close_hub() -> None:
    """Ends the running event loop's hub, if it has one."""
    instance = _hubs.pop(asyncio.get_running_loop(), None)
    if instance is not None:
        await instance.close()
