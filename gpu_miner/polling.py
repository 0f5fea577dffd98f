"""Asking for work: one long poll at a time, for as many jobs as there are free slots."""

import logging
from collections.abc import Callable
from time import monotonic
from uuid import uuid4

from gpu_miner.backoff import Backoff, spread
from gpu_miner.errors import PlatformError, Refused
from gpu_miner.miner import Miner
from gpu_miner.protocol import Offer

logger = logging.getLogger(__name__)

# A platform that answers "nothing" without holding the poll is asked no more than about once a second.
EMPTY_POLL_S = 1.0
SLOT_CHECK_S = 5.0
FULL_POLL_MS = 3_000


class Poller:
    """Polls until the miner drains; hands every offer to `accept`."""

    def __init__(self, miner: Miner, accept: Callable[[Offer], None]) -> None:
        self._miner = miner
        self._accept = accept
        self._backoff = Backoff(miner.patience)
        self._poll_id = str(uuid4())

    def run(self) -> None:
        while not self._miner.draining.is_set():
            free, for_customers = self._miner.slots_free, self._miner.slots_for_customers
            if free:
                self._poll(free, idle=self._miner.settings.takes_idle, wait_ms=self._miner.config.poll_wait_ms)
            elif for_customers:
                # Full of idle jobs: a customer's may come any time, and an idle job that ends must not wait long.
                self._poll(for_customers, idle=False, wait_ms=min(self._miner.config.poll_wait_ms, FULL_POLL_MS))
            else:
                self._miner.jobs.wait_for_change(SLOT_CHECK_S)

    def _poll(self, slots: int, *, idle: bool, wait_ms: int) -> None:
        asked_at = monotonic()
        try:
            reply = self._miner.client.next_jobs(
                self._miner.miner_id,
                slots=slots,
                idle=idle,
                wait_ms=wait_ms,
                poll_id=self._poll_id,
            )
        except Refused as error:
            self._miner.fail(error)
        except PlatformError as error:
            # The id stays: had only the reply been lost, asking again brings the same offers.
            self._wait(error)
        else:
            self._poll_id = str(uuid4())
            self._connected()
            self._miner.obey(reply.orders)
            for offer in reply.offers:
                self._accept(offer)
            if not reply.offers:
                self._miner.draining.wait(spread(EMPTY_POLL_S - min(EMPTY_POLL_S, monotonic() - asked_at)))

    def _connected(self) -> None:
        if self._backoff.failures:
            logger.info("the platform answers again")
        self._backoff.reset()
        self._miner.state = "online"

    def _wait(self, error: PlatformError) -> None:
        wait_s = self._backoff.next_wait(error.retry_after_s)
        self._miner.state = "reconnecting"
        logger.warning("no jobs from the platform: %s; trying again in %.1f s", error, wait_s)
        self._miner.draining.wait(wait_s)
