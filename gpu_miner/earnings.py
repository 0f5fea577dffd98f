"""What the miner has earned, as far as the platform tells."""

import logging
import math
from threading import Event

from gpu_miner.errors import PlatformError
from gpu_miner.miner import Miner
from gpu_miner.protocol import as_text

logger = logging.getLogger(__name__)

ASK_EVERY_S = 60.0
FIRST_ASK_S = 3.0


def watch_earnings(miner: Miner, ended: Event, every_s: float = ASK_EVERY_S, first_s: float = FIRST_ASK_S) -> None:
    """Ask now and then until the miner ends; a platform that does not tell costs nothing but the question."""
    ended.wait(first_s)
    while not ended.is_set():
        if miner.miner_id:
            miner.earned_usd = _earned(miner)
        ended.wait(every_s)


def _earned(miner: Miner) -> float | None:
    try:
        told = miner.client.own_figures().get("earnings_usd")
    except PlatformError as error:
        logger.debug("the platform does not tell the earnings: %s", error)
        return miner.earned_usd
    try:
        amount = float(as_text(told)) if not isinstance(told, float) else told
    except ValueError:
        return None
    return amount if math.isfinite(amount) else None
