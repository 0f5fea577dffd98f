"""The extractive engine: finds the reply at once and lets it arrive word by word."""

import re

from gpu_miner.engines.base import Cancelled, Delta, EngineJob, Finish, Stream, Usage, text_of
from gpu_miner.engines.extractive.languages import LANGUAGES
from gpu_miner.engines.extractive.passages import material_of
from gpu_miner.engines.extractive.reply import compose
from gpu_miner.protocol import ModelCard

MODEL = "mia-extractive"
MAX_CONTEXT = 32_768
MAX_OUTPUT = 512
# What one word of prompt weighs in tokens, on average over European languages.
TOKENS_PER_WORD = 1.3
_PIECE = re.compile(
    r"\s*(?:[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{1,2}|\S+?(?=[\s\u3000-\u9fff\uff00-\uffef]|$))|\s+"
)


class ExtractiveEngine:
    """Quotes the business's own sentences; needs no GPU, no weights and no network."""

    def __init__(self, *, slots: int = 4, words_per_s: float = 40.0) -> None:
        self.slots = slots
        self._word_s = 1.0 / words_per_s

    def models(self) -> list[ModelCard]:
        return [
            {
                "id": MODEL,
                "backend": "extractive",
                "quant": "none",
                "max_context": MAX_CONTEXT,
                "max_output": MAX_OUTPUT,
                "features": [],
                "languages": list(LANGUAGES),
            }
        ]

    def admits(self, job: EngineJob) -> bool:
        return True

    def room(self) -> int:
        return self.slots

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        reply, reason = _limited(compose(material_of(job.messages)), job)
        # The same facts bring the same reply: one begun by another miner of this kind can be finished here.
        going_on = bool(job.resume_text) and reply.startswith(job.resume_text)
        stream.begin(continues=going_on)
        written = pieces(reply[len(job.resume_text) :] if going_on else reply)
        for piece in written:
            if stream.pause(self._word_s):
                raise Cancelled
            stream.push(Delta(piece))
        read = sum(len(text_of(message).split()) for message in job.messages)
        return Finish(reason, Usage(round(read * TOKENS_PER_WORD), len(written)))

    def close(self) -> None:
        """Nothing is open."""


def pieces(text: str) -> list[str]:
    """Words with the space before them, or two CJK characters; together they are the text."""
    return _PIECE.findall(text)


def _limited(reply: str, job: EngineJob) -> tuple[str, str]:
    """The reply as far as the job's limits allow, and what ended it."""
    cuts = [position for position in (reply.find(stop) for stop in job.stop) if position >= 0]
    if cuts:
        return reply[: min(cuts)], "stop"
    words = pieces(reply)
    if len(words) > job.max_tokens:
        return "".join(words[: job.max_tokens]), "length"
    return reply, "stop"
