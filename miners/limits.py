"""The numbers of the miner protocol, in one place; `docs/miner-protocol.md` explains each."""

from datetime import timedelta
from typing import Final

OFFER: Final = timedelta(seconds=5)
LEASE: Final = timedelta(seconds=15)
IDLE_LEASE: Final = timedelta(seconds=60)
FIRST_PROTOCOL_LEASE: Final = timedelta(seconds=90)
RENEW: Final = timedelta(seconds=5)
HEARTBEAT: Final = timedelta(seconds=5)
FLUSH: Final = timedelta(milliseconds=120)
POLL_WAIT: Final = timedelta(seconds=25)
POLL_WAIT_LONGEST: Final = timedelta(seconds=55)
POLL_JITTER: Final = 0.2
STALL: Final = timedelta(seconds=6)
PREFILL_GRACE: Final = timedelta(seconds=15)
PREFILL_TOKENS_PER_SECOND: Final = 100
MINER_OFFLINE: Final = timedelta(seconds=20)
HEARD_AGAIN: Final = timedelta(seconds=8)
"""How long miners have after an outage of the platform until their silence counts: one heartbeat, and a retry of it."""
CHAT_DEADLINE: Final = timedelta(seconds=120)
NO_CAPACITY_NOTICE: Final = timedelta(seconds=10)
STREAM_KEPT: Final = timedelta(minutes=15)
REAP_EVERY: Final = timedelta(seconds=1)
AFFINITY_HOLD: Final = timedelta(milliseconds=150)
AFFINITY_SEEN: Final = timedelta(seconds=10)
RENEW_FROM_CHUNKS: Final = timedelta(seconds=1)

FAULTS_BEFORE_FAILED: Final = 3
SECOND_CHANCE: Final = timedelta(seconds=10)
"""How long a job that nobody else can serve waits until the miner that lost it may have it again."""
RETURNS_TO_ONE_MINER: Final = 50
"""How often an idle job may give way before the miners it was on are not asked again."""
MAX_SLOTS: Final = 64
MAX_CHUNK_CHARS: Final = 65_536
MAX_OUTPUT_CHARS: Final = 262_144
OUTPUT_WEIGHT: Final = 2
"""An output token costs a GPU about twice an input token (virtual token counter, arXiv 2401.00588)."""

CANARIES_TO_VERIFY: Final = 5
CANARY_FAILURES_TO_SUSPECT: Final = 2
CANARY_WINDOW: Final = 50
FORGERIES_TO_SUSPECT: Final = 3
CANARY_EVERY_IN_PROBATION: Final = timedelta(seconds=20)
CANARY_EVERY: Final = timedelta(minutes=15)
CANARIES_LOOKED_FOR_EVERY: Final = timedelta(seconds=2)
CANARIES_AT_ONCE: Final = 4
MINERS_PER_CANARY: Final = 100
