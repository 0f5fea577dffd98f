"""An engine that does what a script says, faults included; for tests, demonstrations and load."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

from gpu_miner.engines.base import Cancelled, Delta, EngineJob, Finish, Stream, Usage
from gpu_miner.errors import EngineError, EngineUnavailable
from gpu_miner.protocol import JsonObject, ModelCard, as_int, as_list, as_object, as_text

GARBAGE = "\0\ud800 \N{REPLACEMENT CHARACTER} <script>alert(1)</script> \u202e"
DIED_LIKE_A_CRASH = 139
NEVER_S = 86_400.0


@dataclass(frozen=True)
class Act:
    """What to do with one job; the faults happen once `after` tokens are out."""

    match: str = ""
    text: str = ""
    delay_ms: int = 20
    first_delay_ms: int = 0
    after: int = 0
    fault: str = ""
    error: JsonObject = field(default_factory=dict)
    tool_calls: tuple[JsonObject, ...] = ()
    finish_reason: str = ""
    ignore_cancel: bool = False
    continues: bool = False


# error: report `error`; raise: an unexpected exception; exit: kill the process; hang: no more tokens;
# garbage: words no database likes; never_ack: leave the offer lying; exit_at_offer: die before the acknowledgement.
FAULTS = frozenset({"", "error", "raise", "exit", "hang", "garbage", "never_ack", "exit_at_offer"})


@dataclass(frozen=True)
class Script:
    """Acts by order of preference, and the model the engine claims to have."""

    acts: tuple[Act, ...] = ()
    model: str = "scripted"
    max_context: int = 8192
    features: tuple[str, ...] = ("tools", "json", "prefill_continue")

    def act_for(self, job: EngineJob) -> Act:
        """The first act whose `match` stands in the question; without one the question is echoed."""
        return next((act for act in self.acts if act.match in job.question), Act(text=f"You said: {job.question}"))


class ScriptedBug(Exception):
    """The unexpected exception of a script."""


class ScriptedEngine:
    """Plays a script."""

    def __init__(self, script: Script | None = None, *, slots: int = 4) -> None:
        self.slots = slots
        self._script = script or Script()

    def models(self) -> list[ModelCard]:
        return [
            {
                "id": self._script.model,
                "backend": "scripted",
                "quant": "",
                "max_context": self._script.max_context,
                "max_output": self._script.max_context,
                "features": list(self._script.features),
            }
        ]

    def admits(self, job: EngineJob) -> bool:
        fault = self._script.act_for(job).fault
        if fault == "exit_at_offer":
            os._exit(DIED_LIKE_A_CRASH)
        return fault != "never_ack"

    def room(self) -> int:
        return self.slots

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        act = self._script.act_for(job)
        going_on = act.continues and act.text.startswith(job.resume_text)
        stream.begin(continues=going_on and bool(job.resume_text))
        tokens = _tokens(act.text.removeprefix(job.resume_text) if going_on else act.text)[: job.max_tokens]
        _rest(act, stream, act.first_delay_ms)
        for number, token in enumerate(tokens):
            if number == act.after:
                _fail(act, stream)
            _rest(act, stream, act.delay_ms)
            stream.push(Delta(token))
        if act.after >= len(tokens):
            _fail(act, stream)
        if act.tool_calls:
            stream.push(Delta("", 1, act.tool_calls))
        reason = act.finish_reason or ("tool_calls" if act.tool_calls else "stop")
        return Finish(reason, Usage(len(job.question.split()), len(tokens)), act.tool_calls)

    def close(self) -> None:
        """Nothing to let go of."""


def load_script(source: str) -> Script:
    """A script from a JSON file or from JSON itself; nothing gives the echo."""
    if not source:
        return Script()
    try:
        text = source if source.lstrip().startswith(("{", "[")) else Path(source).read_text(encoding="utf-8")
        raw = json.loads(text)
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"the script cannot be read: {error}") from error
    given: JsonObject = {"acts": raw} if isinstance(raw, list) else as_object(raw)
    return Script(
        acts=tuple(_act(as_object(item)) for item in as_list(given.get("acts"))),
        model=as_text(given.get("model")) or "scripted",
        max_context=as_int(given.get("max_context"), 8192),
        features=tuple(map(as_text, as_list(given["features"]))) if "features" in given else Script.features,
    )


def _act(raw: JsonObject) -> Act:
    fault = as_text(raw.get("fault"))
    if fault not in FAULTS:
        raise EngineUnavailable(f"the script knows no fault “{fault}”; it knows {', '.join(sorted(FAULTS - {''}))}")
    return Act(
        match=as_text(raw.get("match")),
        text=as_text(raw.get("text")),
        delay_ms=as_int(raw.get("delay_ms"), 20),
        first_delay_ms=as_int(raw.get("first_delay_ms"), 0),
        after=as_int(raw.get("after"), 0),
        fault=fault,
        error=as_object(raw.get("error")),
        tool_calls=tuple(as_object(item) for item in as_list(raw.get("tool_calls"))),
        finish_reason=as_text(raw.get("finish_reason")),
        ignore_cancel=raw.get("ignore_cancel") is True,
        continues=raw.get("continues") is True,
    )


def _fail(act: Act, stream: Stream) -> None:
    if act.fault == "error":
        raise EngineError(
            as_text(act.error.get("code")) or "scripted",
            as_text(act.error.get("message")) or "as the script says",
            retryable=act.error.get("retryable") is not False,
        )
    if act.fault == "raise":
        raise ScriptedBug
    if act.fault == "exit":
        os._exit(DIED_LIKE_A_CRASH)
    if act.fault == "garbage":
        stream.push(Delta(GARBAGE))
    if act.fault == "hang":
        _rest(act, stream, int(NEVER_S * 1000))


def _rest(act: Act, stream: Stream, delay_ms: int) -> None:
    if act.ignore_cancel:
        sleep(delay_ms / 1000)
    elif stream.pause(delay_ms / 1000):
        raise Cancelled


def _tokens(text: str) -> list[str]:
    """Words with the space before them, so that joined tokens are the text."""
    return list(_split(text))


def _split(text: str) -> Iterator[str]:
    start = 0
    for position, char in enumerate(text):
        if char == " " and position > start:
            yield text[start:position]
            start = position
    if start < len(text):
        yield text[start:]
