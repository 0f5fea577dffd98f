"""What is believed of a miner's own count, and what is noted when it is not."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners.honesty import Claim, count, most_tokens, remark_on_digest
from miners.models import Attempt
from miners.services import Result, accept_result
from miners.tests.factories import hold, make_job, make_miner

PROSE = "You may return anything within thirty days, as long as it is in the box that it came in. " * 20
CARD = {"id": "qwen", "digest": "sha256:aaa"}


def claim(reported: int, output: str = PROSE, taken_s: float = 60, tool_calls: Any = ()) -> Claim:
    return Claim(output=output, tool_calls=tool_calls, reported=reported, taken_s=taken_s)


def test_an_honest_count_counts() -> None:
    assert count(claim(420)).tokens == 420
    assert count(claim(420)).remark == ""


def test_more_than_the_text_can_hold_is_cut_and_noted() -> None:
    counted = count(claim(10_000))
    assert counted.tokens < len(PROSE) / 1.5
    assert counted.remark.startswith("says 10000 tokens, more than the text can hold")


def test_more_than_the_time_allows_is_cut_and_noted() -> None:
    counted = count(claim(420, taken_s=0.05))
    assert counted.tokens == 300
    assert "time allows" in counted.remark


def test_an_answer_without_a_count_is_estimated() -> None:
    assert count(claim(0, output="x" * 36)).tokens == 11


def test_the_arguments_of_a_call_are_written_too() -> None:
    calls = [{"function": {"name": "refund", "arguments": '{"order": "A-1234567"}'}}]
    assert count(claim(30, output="", tool_calls=calls)).tokens == 30


@pytest.mark.parametrize(
    ("text", "honest"),
    [
        ("1234567890" * 10, 100),  # Qwen's vocabulary has a token for each digit.
        ("注文した商品はいつ届きますか。", 15),
        ("🚲" * 10, 40),
        ("{}[]();:" * 5, 40),
        ("antidisestablishmentarianism", 7),
        ("\n\n   a   \n", 3),
    ],
)
def test_an_honest_tokenizer_is_always_believed(text: str, honest: int) -> None:
    assert most_tokens(text) >= honest


@pytest.mark.parametrize(
    ("said", "cards", "remark"),
    [
        ("sha256:aaa", [CARD], ""),
        ("sha256:bbb", [CARD], "another model than the one registered"),
        ("", [CARD], "no digest, though one is registered"),
        ("sha256:bbb", [{"id": "qwen"}], ""),
        ("", [], ""),
    ],
)
def test_a_digest_is_held_against_the_registered_one(said: str, cards: list[dict[str, str]], remark: str) -> None:
    assert remark_on_digest(said, cards, "qwen") == remark


@pytest.mark.django_db(transaction=True)
def test_the_attempt_carries_the_digest_and_what_was_not_believed() -> None:
    miner, _key = make_miner(served_models=[CARD], model_ids=["qwen"])
    held = hold(make_job(), miner, acked=True)
    result = Result(held.pk, "An answer.", tokens_generated=10**6, fence=held.fence, model_digest="sha256:bbb")
    accept_result(miner=miner, result=result, now=timezone.now() + timedelta(seconds=5))
    with platform_scope():
        attempt = Attempt.objects.get(pk=held.fence)
    assert (attempt.model_digest, attempt.tokens_reported) == ("sha256:bbb", 10**6)
    assert "more than the text can hold; 10 count; another model" in attempt.remark
