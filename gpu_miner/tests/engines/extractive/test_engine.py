"""The extractive engine as an engine: pace, limits, and answers begun elsewhere."""

import time

import pytest

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.extractive import ExtractiveEngine
from gpu_miner.engines.extractive.engine import pieces
from gpu_miner.tests.engines.recorder import Recorder, asking

FACTS = "Our shop opens at nine in the morning. Parking is behind the house."


def reply(job: EngineJob, words_per_s: float = 10_000) -> tuple[Recorder, str]:
    stream = Recorder()
    finish = ExtractiveEngine(words_per_s=words_per_s).run(job, stream)
    return stream, finish.finish_reason


def test_the_answer_quotes_the_facts() -> None:
    stream, reason = reply(asking("When does the shop open?", FACTS))
    assert stream.text == "From the information I have: “Our shop opens at nine in the morning.”"
    assert reason == "stop"


def test_the_words_come_at_their_pace() -> None:
    started_at = time.monotonic()
    stream, _ = reply(asking("When does the shop open?", FACTS), words_per_s=50)
    assert time.monotonic() - started_at >= len(stream.deltas) / 50


def test_a_token_limit_ends_with_length() -> None:
    stream, reason = reply(asking("When does the shop open?", FACTS, params={"max_tokens": 3}))
    assert (stream.text, reason) == ("From the information", "length")


def test_a_stop_string_ends_the_answer_before_it() -> None:
    stream, reason = reply(asking("When does the shop open?", FACTS, params={"stop": ["“"]}))
    assert (stream.text, reason) == ("From the information I have: ", "stop")


def test_an_answer_begun_by_another_miner_is_finished() -> None:
    stream, _ = reply(asking("When does the shop open?", FACTS, resume_text="From the information I ha"))
    assert stream.begun == [True]
    assert stream.text == "ve: “Our shop opens at nine in the morning.”"


def test_an_answer_begun_in_other_words_starts_anew() -> None:
    stream, _ = reply(asking("When does the shop open?", FACTS, resume_text="We open"))
    assert stream.begun == [False]
    assert stream.text.startswith("From the information")


def test_it_does_not_claim_what_it_cannot() -> None:
    (model,) = ExtractiveEngine().models()
    assert model["features"] == []
    assert {"en", "fr", "de", "ja"} <= set(model["languages"])


@pytest.mark.parametrize(
    "text", ["two words", " lead and trail ", "配送は3日です。Thanks a lot", "a\n\nb", "“quoted” – text", ""]
)
def test_the_pieces_together_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_chinese_comes_in_small_pieces() -> None:
    assert max(len(piece) for piece in pieces("根据我掌握的信息满一百元包邮")) <= 2


def test_a_page_of_facts_is_searched_in_a_moment() -> None:
    facts = "\n".join(
        f"Fact number {number} is about topic {number * 7} and thing {number % 13}." for number in range(600)
    )
    started_at = time.thread_time()
    reply(asking("What is fact 300 about?", facts, params={"max_tokens": 1}))
    assert time.thread_time() - started_at < 3
