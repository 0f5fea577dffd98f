"""What a job tells its engine."""

import pytest

from gpu_miner.engines.base import EngineJob, text_of


@pytest.mark.parametrize(
    ("params", "max_tokens"),
    [
        ({}, 512),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 0}, 1),
        ({"max_tokens": "many"}, 512),
        ({"max_tokens": True}, 512),
    ],
)
def test_a_token_limit_is_always_sensible(params: dict[str, object], max_tokens: int) -> None:
    assert EngineJob("j", (), params=params).max_tokens == max_tokens


@pytest.mark.parametrize(
    ("stop", "wanted"), [(None, ()), ("END", ("END",)), (["a", "", "b"], ("a", "b")), ([1, None], ("1",)), (7, ())]
)
def test_stop_strings_come_in_every_shape(stop: object, wanted: tuple[str, ...]) -> None:
    assert EngineJob("j", (), params={"stop": stop}).stop == wanted


def test_the_question_is_the_last_thing_the_user_said() -> None:
    said = [("user", "first"), ("assistant", "yes"), ("user", "second"), ("assistant", "begun")]
    job = EngineJob("j", tuple({"role": role, "content": content} for role, content in said))
    assert job.question == "second"
    assert EngineJob("j", ()).question == ""


@pytest.mark.parametrize(
    ("content", "text"),
    [("hi", "hi"), (None, ""), (7, ""), ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "c"], "a\nb")],
)
def test_content_comes_in_every_shape(content: object, text: str) -> None:
    assert text_of({"content": content}) == text
