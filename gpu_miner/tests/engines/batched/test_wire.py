"""The messages between the miner and its engine process."""

import io

import pytest

from gpu_miner.engines.batched.wire import MAX_MESSAGE_BYTES, WireBroken, pack, read_message


def test_messages_arrive_one_by_one_and_then_the_end() -> None:
    source = io.BytesIO(pack({"step": [["1", "café 北京 \ud83d", 1]]}) + pack({"ready": {}}))
    assert read_message(source) == {"step": [["1", "café 北京 \ud83d", 1]]}
    assert read_message(source) == {"ready": {}}
    assert read_message(source) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"Warning: something printed\n",
        b"\0\0",
        b"\0\0\0\0",
        (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big") + b"{}",
        (9).to_bytes(4, "big") + b"{}",
        (2).to_bytes(4, "big") + b"[]",
        (2).to_bytes(4, "big") + b"\xff\xfe",
        (4000).to_bytes(4, "big") + b"[" * 4000,
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(WireBroken):
        read_message(io.BytesIO(raw))


def test_a_message_that_the_other_side_would_refuse_is_not_sent() -> None:
    with pytest.raises(WireBroken):
        pack({"text": "x" * MAX_MESSAGE_BYTES})
