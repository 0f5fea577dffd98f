"""The log of an answer: who may append, what readers are shown, and what survives an emptied Redis."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.lib.redis import close_async_redis, sync_redis
from miners import streams
from miners.streams import Append, AppendCode, EntryKind, Replay, StreamEntry, text_of

MINER = 5
TOPIC = "test:streams"


@dataclass
class Writer:
    """The streams of one job, as dispatch and its miners use them."""

    job_id: UUID = field(default_factory=uuid4)
    attempt: int = 0

    async def open(self, resume_text: str = "") -> int:
        """Gives the job to the next attempt, whose fence is its number times ten."""
        self.attempt += 1
        offer = {
            "id": self.job_id,
            "fence": self.attempt * 10,
            "miner_id": MINER,
            "attempt_count": self.attempt,
            "topic": TOPIC,
            "resume_text": resume_text,
            "model": "",
            "served_model": "qwen2.5-7b",
        }
        await streams.open_streams([offer])
        return self.attempt * 10

    async def write(self, offset: int, text: str, *, fence: int = 0, miner: int = MINER) -> tuple[str, int]:
        piece = Append(self.job_id, fence or self.attempt * 10, offset, text, 1)
        (reply,) = await streams.append(miner, [piece])
        return str(reply.code), reply.next_offset

    async def reopen(self) -> None:
        """What the lane does for a piece whose job Redis does not know."""
        await streams.reopen_stream(
            job_id=self.job_id, fence=self.attempt * 10, miner_id=MINER, attempt=self.attempt, topic=TOPIC
        )

    async def text(self) -> str:
        return text_of(await streams.read_stream(self.job_id))


def run(scenario: Callable[[Writer], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        try:
            return await scenario(Writer())
        finally:
            await close_async_redis()

    return asyncio.run(inside())


def test_pieces_in_order_make_the_text() -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        assert await writer.write(0, "Grüß ") == ("ok", 5)
        assert await writer.write(5, "Gott 👋") == ("ok", 11)
        assert await writer.text() == "Grüß Gott 👋"

    run(scenario)


@pytest.mark.parametrize("offset", [0, 4, 6, 99])
def test_a_gap_or_an_overlap_says_where_to_go_on(offset: int) -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "12345")
        assert await writer.write(offset, "x") == ("range", 5)
        assert await writer.text() == "12345"

    run(scenario)


def test_nobody_else_appends() -> None:
    async def scenario(writer: Writer) -> None:
        assert (await writer.write(0, "x", fence=10))[0] == "unknown"
        first = await writer.open()
        assert (await writer.write(0, "x", miner=MINER + 1))[0] == "lost"
        assert (await writer.write(0, "x", fence=first + 1))[0] == "lost"
        await writer.open()
        assert (await writer.write(0, "x", fence=first))[0] == "lost"
        assert await writer.text() == ""

    run(scenario)


def test_a_closed_stream_takes_nothing_more() -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "all")
        pipeline = sync_redis().pipeline()
        streams.close_stream(pipeline, writer.job_id)
        await asyncio.to_thread(pipeline.execute)
        assert (await writer.write(3, "more"))[0] == AppendCode.CANCEL
        assert await writer.text() == "all"

    run(scenario)


def test_an_attempt_that_continues_is_seamless() -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "Ihr Paket ")
        await writer.open("Ihr Paket ")
        assert await writer.write(10, "kommt.") == ("ok", 16)
        assert await kinds(writer) == ["delta", "delta"]
        assert await writer.text() == "Ihr Paket kommt."

    run(scenario)


def test_an_attempt_that_cannot_continue_resets_the_answer_once() -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "Ihr Paket ")
        await writer.open("Ihr Paket ")
        assert await writer.write(0, "Das ") == ("ok", 4)
        assert await writer.write(0, "Das ") == ("range", 4), "sent again it is an overlap, not another start"
        assert await kinds(writer) == ["delta", "reset", "delta"]
        assert await writer.text() == "Das "

    run(scenario)


def test_text_that_came_after_the_fault_was_recorded_is_taken_back() -> None:
    """The dying miner's last words reach the visitor, but not the attempt that goes on."""

    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "abcdef")
        await writer.open("abc")
        await writer.write(3, "xyz")
        assert await writer.text() == "abcxyz"
        assert await seen_by_a_reader_of_each_piece(writer) == "abcxyz"

    run(scenario)


def test_after_a_fault_without_redis_the_next_attempt_replaces_what_was_shown() -> None:
    """Redis was away when the fault was recorded, so that nobody knew what had been shown, and came back with it."""

    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "abcdef")
        await writer.open("")
        await writer.write(0, "xy")
        assert await writer.text() == "xy"
        assert await seen_by_a_reader_of_each_piece(writer) == "xy"

    run(scenario)


def test_an_emptied_redis_gets_the_text_again(redis_client: Any) -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "abc")
        reader = Replay()
        shown = pass_on(reader, await streams.read_stream(writer.job_id), "")
        redis_client.flushall()
        assert (await writer.write(3, "def"))[0] == "unknown"
        await writer.reopen()
        assert await writer.write(3, "def") == ("range", 0)
        await writer.write(0, "abcdef")
        assert pass_on(reader, await streams.read_stream(writer.job_id), shown) == "abcdef"

    run(scenario)


def test_a_reader_who_stopped_in_an_earlier_attempt_is_reset_when_redis_was_emptied(redis_client: Any) -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "old words")
        old, new = Replay(), Replay()
        seen_old = pass_on(old, await streams.read_stream(writer.job_id), "")
        await writer.open("old ")
        await writer.write(0, "N")
        seen_new = pass_on(new, await streams.read_stream(writer.job_id), "")
        redis_client.flushall()
        await writer.reopen()
        await writer.write(0, "New words")
        log = await streams.read_stream(writer.job_id)
        assert (pass_on(old, log, seen_old), pass_on(new, log, seen_new)) == ("New words", "New words")

    run(scenario)


def test_what_readers_are_told_is_what_the_log_says(redis_client: Any) -> None:
    async def scenario(writer: Writer) -> None:
        with redis_client.pubsub(ignore_subscribe_messages=True) as heard:
            heard.subscribe(streams.TOPIC_PREFIX + TOPIC)
            heard.get_message(timeout=1)
            await writer.open()
            await writer.write(0, 'a "quoted"\n𝔘 word')
            await writer.write(17, "")
            events = [streams.json.loads(heard.get_message(timeout=2)["data"]) for _ in range(2)]
            assert heard.get_message(timeout=0.1) is None
        job_id = str(writer.job_id)
        assert events == [
            {"type": "started", "job_id": job_id, "attempt": 1, "model": "qwen2.5-7b"},
            {"type": "delta", "job_id": job_id, "attempt": 1, "offset": 0, "text": 'a "quoted"\n𝔘 word'},
        ]

    run(scenario)


def test_a_log_is_forgotten_after_a_quarter_of_an_hour(redis_client: Any) -> None:
    async def scenario(writer: Writer) -> None:
        await writer.open()
        await writer.write(0, "x")
        for key in (streams.state_key(writer.job_id), streams.stream_key(writer.job_id)):
            assert 890 < redis_client.ttl(key) <= 900

    run(scenario)


def test_token_rates_are_a_mean_over_seconds() -> None:
    async def scenario(_: Writer) -> dict[int, float]:
        for tokens in (60, 40):
            streams.token_count().add(MINER, tokens)
        await asyncio.sleep(streams.TELL_TOKENS_EVERY_S + 0.2)
        return await asyncio.to_thread(streams.tokens_per_second, int(time.time()) + 1, 10)

    assert run(scenario) == {MINER: 10.0}


# --- Replay


def delta(attempt: int, offset: int, text: str) -> StreamEntry:
    return StreamEntry(EntryKind.DELTA, attempt, offset, text)


def reset(attempt: int) -> StreamEntry:
    return StreamEntry(EntryKind.RESET, attempt, 0, "")


def pass_on(reader: Replay, entries: list[StreamEntry], shown: str) -> str:
    """What stands on the reader's screen after the whole log."""
    return screen(shown, reader.take_all(entries))


def screen(shown: str, entries: list[StreamEntry]) -> str:
    for entry in entries:
        assert entry.kind == EntryKind.RESET or entry.offset == len(shown), "a reader would show a gap or a repetition"
        shown = "" if entry.kind == EntryKind.RESET else shown + entry.text
    return shown


async def kinds(writer: Writer) -> list[str]:
    return [str(entry.kind) for entry in await streams.read_stream(writer.job_id)]


async def seen_by_a_reader_of_each_piece(writer: Writer) -> str:
    """What a reader sees who gets every entry as it is published."""
    reader, shown = Replay(), ""
    for entry in await streams.read_stream(writer.job_id):
        shown = screen(shown, reader.take(entry))
    return shown


def test_each_character_is_passed_on_once() -> None:
    reader = Replay()
    assert reader.take(delta(1, 0, "abc")) == [delta(1, 0, "abc")]
    assert reader.take(delta(1, 0, "abc")) == []
    assert reader.take(delta(1, 1, "bcde")) == [delta(1, 3, "de")]


def test_a_gap_is_noticed_before_it_is_shown() -> None:
    reader = Replay(attempt=1, position=3)
    assert reader.has_gap_before(delta(1, 5, "x"))
    assert not reader.has_gap_before(delta(1, 3, "x"))
    assert not reader.has_gap_before(reset(2))


def test_words_of_an_attempt_that_was_overtaken_are_dropped() -> None:
    reader = Replay(attempt=2, position=4)
    assert reader.take(delta(1, 4, "late")) == []


def test_a_reset_is_told_only_to_a_reader_who_had_text() -> None:
    assert Replay().take(reset(2)) == []
    assert Replay(attempt=1, position=3).take(reset(2)) == [reset(2)]
    assert Replay(attempt=2, position=3).take(reset(2)) == []


def test_a_new_reader_is_not_shown_what_a_reset_undid() -> None:
    log = [delta(1, 0, "wrong"), reset(2), delta(2, 0, "right")]
    assert Replay().take_all(log) == [delta(2, 0, "right")]


def test_a_returning_reader_is_reset_and_shown_the_rest() -> None:
    log = [delta(1, 0, "wrong"), reset(2), delta(2, 0, "right")]
    assert Replay(attempt=1, position=5).take_all(log) == [reset(2), delta(2, 0, "right")]


@st.composite
def histories(draw: st.DrawFn) -> list[StreamEntry]:
    """Logs as attempts leave them: each continues what stands there, or resets it."""
    log: list[StreamEntry] = []
    for attempt in range(1, draw(st.integers(1, 4)) + 1):
        if attempt > 1 and draw(st.booleans()):
            log.append(reset(attempt))
        for word in draw(st.lists(st.text("abc", min_size=1, max_size=3), max_size=4)):
            log.append(delta(attempt, len(text_of(log)), word))
    return log


@given(histories(), st.data())
def test_every_reader_ends_with_the_log_whatever_it_saw_before(log: list[StreamEntry], data: st.DataObject) -> None:
    """Readers hear some of the log live, with repetitions, lose the connection, and catch up."""
    heard = data.draw(st.integers(0, len(log)))
    reader, shown = Replay(), ""
    for entry in log[:heard]:
        for _ in range(data.draw(st.integers(1, 2))):
            shown = screen(shown, reader.take(entry))
    assert shown == text_of(log[:heard])
    assert pass_on(reader, log, shown) == text_of(log)
