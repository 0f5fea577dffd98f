"""The scripted engine and its scripts."""

import json
from pathlib import Path

import pytest

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.scripted import Act, Script, ScriptedBug, ScriptedEngine, load_script
from gpu_miner.errors import EngineError, EngineUnavailable
from gpu_miner.tests.engines.recorder import Recorder, asking


def test_without_a_script_the_question_is_echoed() -> None:
    stream = Recorder()
    ScriptedEngine().run(asking("hello there"), stream)
    assert stream.text == "You said: hello there"


def test_the_first_act_that_matches_is_played() -> None:
    script = Script((Act(match="refund", text="no"), Act(match="", text="yes")))
    assert script.act_for(asking("a refund?")).text == "no"
    assert script.act_for(asking("hello")).text == "yes"


def test_a_script_comes_from_json_or_from_a_file(tmp_path: Path) -> None:
    raw = {"model": "m", "acts": [{"match": "x", "text": "y", "delay_ms": 1, "ignore_cancel": True}]}
    path = tmp_path / "script.json"
    path.write_text(json.dumps(raw))
    assert load_script(json.dumps(raw)) == load_script(str(path))
    assert load_script(json.dumps(raw)).acts == (Act(match="x", text="y", delay_ms=1, ignore_cancel=True),)


@pytest.mark.parametrize("source", ["/no/such/file", "{broken", '[{"fault": "magic"}]'])
def test_a_script_that_cannot_be_played_is_refused_at_the_start(source: str) -> None:
    with pytest.raises(EngineUnavailable):
        load_script(source)


def test_an_error_comes_after_its_tokens() -> None:
    act = Act(text="one two three", delay_ms=0, after=2, fault="error", error={"code": "oom", "retryable": False})
    stream = Recorder()
    with pytest.raises(EngineError) as caught:
        ScriptedEngine(Script((act,))).run(asking("x"), stream)
    assert (stream.text, caught.value.code, caught.value.retryable) == ("one two", "oom", False)


def test_an_unexpected_exception_is_not_an_engine_error() -> None:
    with pytest.raises(ScriptedBug):
        ScriptedEngine(Script((Act(text="a", fault="raise"),))).run(asking("x"), Recorder())


def test_a_token_limit_is_kept() -> None:
    stream = Recorder()
    job = EngineJob("j", asking("x").messages, params={"max_tokens": 2})
    ScriptedEngine(Script((Act(text="one two three", delay_ms=0),))).run(job, stream)
    assert stream.text == "one two"


def test_never_ack_is_not_admitted() -> None:
    engine = ScriptedEngine(Script((Act(match="x", fault="never_ack"),)))
    assert not engine.admits(asking("x"))
    assert engine.admits(asking("y"))
