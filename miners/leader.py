"""The dispatcher's loop: one process is the leader, by a PostgreSQL advisory lock, and does what is due each second."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from accounts.tenancy import platform_scope
from mia.lib.redis import sync_redis
from miners import limits, network, reaper, trust
from miners.hearing import Hearing
from miners.network import Latency

logger = logging.getLogger(__name__)

LOCK_KEY: Final = 0x4D4941_0001
TICK_S: Final = 1.0
BEAT_KEY: Final = "mia:dispatcher:beat"
SNAPSHOT_KEY: Final = "mia:network:snapshot"
SNAPSHOT_GROUP: Final = "network"
KEPT_S: Final = 15
NOTHING_YET: Final = Latency(None, None, None, None)


@dataclass
class Duty:
    """Something to be done every so many seconds."""

    every_s: float
    work: Callable[[datetime], None]
    due_at: float = 0.0


class Leadership:
    """An advisory lock on a connection of its own: lost with the connection, so with the process."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[tuple[bool]] | None = None

    def acquire(self) -> bool:
        """Whether this process is the leader, now; raises psycopg.Error when PostgreSQL is away."""
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error:
                self.release()
            else:
                return True
        return self._try_lock()

    def _try_lock(self) -> bool:
        given = connection.get_connection_params()
        names = ("dbname", "user", "password", "host", "port", "sslmode", "sslrootcert")
        parameters = {name: given[name] for name in names if given.get(name)}
        attempt: psycopg.Connection[tuple[bool]] = psycopg.connect(**parameters, autocommit=True, connect_timeout=3)
        row = attempt.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
        if row is None or not row[0]:
            attempt.close()
            return False
        self._connection = attempt
        return True

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Dispatcher:
    """Does every duty that is due while it leads; a database or Redis that is away is waited for."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._leadership = Leadership()
        self._hearing = Hearing()
        self._latency = NOTHING_YET
        self._duties = [
            Duty(TICK_S, self._reap),
            Duty(TICK_S, self._show),
            Duty(5.0, self._measure),
            Duty(limits.CANARIES_LOOKED_FOR_EVERY.total_seconds(), self._send_canaries),
            Duty(10.0, self._sample),
            *[Duty(every_s, _in_platform_scope(path)) for path, every_s in settings.DISPATCHER_DUTIES.items()],
        ]

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Until `stop`; hands leadership on at the end."""
        logger.info("The dispatcher started")
        while not self._stop.is_set():
            self.tick()
            self._stop.wait(TICK_S)
        self._leadership.release()
        logger.info("The dispatcher stopped")

    def tick(self) -> bool:
        """One round; whether this process leads."""
        try:
            leads = self._leadership.acquire()
        except psycopg.Error as error:
            logger.warning("PostgreSQL is away: %s", type(error).__name__)
            self._hearing.note_outage()
            return False
        if leads:
            for duty in self._duties:
                self._do(duty)
        return leads

    def _do(self, duty: Duty) -> None:
        started = time.monotonic()
        if started < duty.due_at:
            return
        duty.due_at = started + duty.every_s * 0.9
        try:
            duty.work(timezone.now())
        except (OperationalError, InterfaceError, RedisError) as error:
            logger.warning("A duty waits for PostgreSQL or Redis: %s", type(error).__name__)
            if not isinstance(error, RedisError):
                self._hearing.note_outage()
            connection.close()
        except Exception:
            logger.exception("A duty failed and will be tried again")
            connection.close()

    def _reap(self, now: datetime) -> None:
        if self._hearing.listen():
            moved = reaper.reap(now=now)
            reaper.mark_silent_miners(now=now)
        else:
            moved = reaper.reap_unheard(now=now)
        if moved:
            logger.info("Reaped %s jobs", moved)

    def _measure(self, now: datetime) -> None:
        with platform_scope():
            self._latency = network.measure_latency(now=now)

    def _send_canaries(self, now: datetime) -> None:
        with platform_scope():
            trust.send_due_canaries(now=now)

    def _show(self, now: datetime) -> None:
        """The snapshot, for dashboards that open and for those that are open; and this process's own sign of life."""
        with platform_scope():
            state = network.snapshot(now=now, latency=self._latency).as_dict()
        redis = sync_redis()
        redis.set(BEAT_KEY, now.isoformat(), ex=KEPT_S)
        redis.set(SNAPSHOT_KEY, json.dumps(state), ex=KEPT_S)
        layer = get_channel_layer()
        assert layer is not None
        async_to_sync(layer.group_send)(SNAPSHOT_GROUP, {"type": "network.snapshot", "snapshot": state})

    def _sample(self, now: datetime) -> None:
        with platform_scope():
            network.keep_sample(network.snapshot(now=now, latency=self._latency), now=now)


def _in_platform_scope(path: str) -> Callable[[datetime], None]:
    """A duty of an app above, by the dotted path that the settings name."""

    def work(now: datetime) -> None:
        with platform_scope():
            import_string(path)(now=now)

    return work
