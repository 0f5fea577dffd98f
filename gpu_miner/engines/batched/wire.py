"""What the miner and its engine process say to each other: JSON objects, each behind its length in four bytes.

JSON and not pickle: whatever a broken engine process writes can be refused, never executed.

to the engine     {"load": …}, {"do": "start", "key": …, "job": …}, {"do": "cancel", "key": …}; the end of input ends it
from the engine   {"loading": …} while it loads, then {"ready": …} or {"failed": …}; {"step": …} after each step;
                  {"broken": …} as its last words
"""

import json
from typing import Protocol

from gpu_miner.errors import MinerError
from gpu_miner.protocol import JsonObject

LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class WireBroken(MinerError):
    """What came is not a message."""


class Readable(Protocol):
    """The reading end of a pipe."""

    def read(self, size: int, /) -> bytes: ...


def pack(message: JsonObject) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise WireBroken("the message is too large")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_message(source: Readable) -> JsonObject | None:
    """The next message, None at the end; raises WireBroken when what comes is anything else."""
    head = source.read(LENGTH_BYTES)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    if len(head) < LENGTH_BYTES or not 0 < size <= MAX_MESSAGE_BYTES:
        raise WireBroken("the length of a message is senseless")
    body = source.read(size)
    if len(body) < size:
        raise WireBroken("a message was cut off")
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireBroken("a message is not JSON") from error
    if not isinstance(message, dict):
        raise WireBroken("a message is not an object")
    return message
