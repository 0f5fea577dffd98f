"""Untrusted replies as typed values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_miner.protocol import (
    PlatformConfig,
    parse_chunks,
    parse_heartbeat,
    parse_offer,
    parse_orders,
    parse_poll,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["jobs", "job_id", "fence", "cancel", "drain", "messages", "config", "params", "verdict", "next_offset", "flush_ms"]
)


def test_an_offer_is_read_in_full() -> None:
    offer = parse_offer(
        {
            "job_id": "j",
            "fence": 918273,
            "attempt": 2,
            "kind": "canary",
            "messages": [{"role": "user", "content": "hi"}],
            "params": {"max_tokens": 9},
            "resume_text": "Our",
            "unknown": "field",
        }
    )
    assert (offer.job_id, offer.fence, offer.attempt, offer.kind) == ("j", "918273", 2, "canary")
    assert (offer.messages, offer.resume_text) == (({"role": "user", "content": "hi"},), "Our")


def test_a_flat_job_of_the_first_platform_becomes_messages() -> None:
    offer = parse_offer({"job_id": "j", "fence": "1", "prompt": "hi", "context": "shop"})
    assert [message["role"] for message in offer.messages] == ["system", "user"]


def test_an_offer_without_id_or_fence_is_dropped() -> None:
    assert parse_poll({"jobs": [{"job_id": "j"}, {"fence": "1"}, "x", None]}).offers == ()


def test_orders_take_ids_and_objects() -> None:
    orders = parse_orders(
        {"cancel": ["a", {"job_id": "b"}, {}, None], "drain": True, "messages": ["hi", {"text": "x"}]}
    )
    assert (orders.cancel, orders.drain, orders.messages) == (("a", "b"), True, ("hi", "x"))


def test_a_missing_drain_is_no_order() -> None:
    assert parse_orders({}).drain is None


def test_verdicts_keep_their_offset() -> None:
    reply = parse_chunks({"jobs": [{"job_id": "a", "verdict": "range", "next_offset": 0}], "flush_ms": 90})
    assert (reply.verdicts[0].next_offset, reply.flush_ms) == (0, 90)
    assert parse_heartbeat({"jobs": [{"job_id": "a", "verdict": "ok"}]}).verdicts[0].next_offset is None


@pytest.mark.parametrize(
    ("raw", "flush_ms"), [({"flush_ms": 500}, 500), ({"flush_ms": 999_999}, 5000), ({"flush_ms": 0}, 150), (None, 150)]
)
def test_config_values_stay_within_reason(raw: object, flush_ms: int) -> None:
    assert PlatformConfig().changed_by(raw).flush_ms == flush_ms


@given(st.dictionaries(FIELDS, JSON))
def test_no_reply_breaks_the_reader(body: dict[str, object]) -> None:
    parse_poll(body)
    parse_heartbeat(body)
    parse_chunks(body)
    parse_offer(body)
    PlatformConfig().changed_by(body)
