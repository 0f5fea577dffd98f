"""Reading one job's answer while it is written, for a reader that can be told a word only once.

A chat's reader can be told to forget what it was shown; a client of this API cannot. So an answer that another miner
starts over goes on silently as long as it says the same, and is an error where it does not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from chats.guardrails.answers import FINISH_REASON
from chats.guardrails.leaks import Guard, find_leak
from chats.masking.mask import restore, restore_calls
from chats.masking.screen import Screen
from chats.openai_api.completions import Ticket
from mia.lib import database
from mia.lib.errors import ApplicationError, JobCancelled, JobExpired, NotFound, Unavailable
from miners.choices import LIVE_STATES, JobState
from miners.hub import Inbox, hub
from miners.streams import EntryKind, StreamEntry, entry_of_event, read_stream

LIGHT: Final = re.compile(r"\[\d{1,3}\]|\s")
PIECE: Final = re.compile(r"\[\d{1,3}\]|.", re.DOTALL)
LIGHTS_AT_START: Final = re.compile(r"^(?:\[\d{1,3}\]|\s)+")
LIGHTS_AT_END: Final = re.compile(r"(?:\[\d{1,3}\]|\s)$")
POLL_S: Final = 1.0
IDLE_POLL_S: Final = 10.0

JOB: Final = """
SELECT state, output, tool_calls, finish_reason, prompt_tokens, tokens_generated
FROM miners_job WHERE id = %(job)s AND business_id = %(business)s
"""


class AnswerRestarted(Unavailable):
    """Another miner wrote other words than those that were streamed already."""

    code = "ANSWER_RESTARTED"
    default_detail = "The answer was started over by another GPU. Please ask again."


class AnswerFailed(Unavailable):
    """The network could not write it."""

    code = "ANSWER_FAILED"
    default_detail = "No answer could be produced. Please ask again."


ENDINGS: Final[Mapping[str, type[ApplicationError]]] = {
    JobState.CANCELLED: JobCancelled,
    JobState.EXPIRED: JobExpired,
}


@dataclass(frozen=True, slots=True)
class Ended:
    """A completed answer."""

    text: str
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class AnswerReader:
    """`pieces` until the answer is whole; then `ended` says the rest."""

    def __init__(self, ticket: Ticket, guard: Guard | None) -> None:
        self.ended: Ended | None = None
        self._ticket = ticket
        self._guard = guard
        self._screen = Screen(values=ticket.values, guard=guard)
        self._written = ""
        self._said = ""

    async def pieces(self) -> AsyncIterator[str]:
        """New words as they come, '' now and then while there are none. Raises what became of a job that failed."""
        async with hub().listen(self._ticket.topic) as inbox:
            while self.ended is None:
                inbox.clear_gap()
                self.ended = await self._look()
                yield self._news()
                if self.ended is None:
                    async for news in self._live(inbox):
                        yield news

    async def _look(self) -> Ended | None:
        """Catches up from the log while the answer is being written, and from the database when it has ended."""
        rows = await database.fetch(JOB, {"job": self._ticket.job_id, "business": self._ticket.business_id})
        if not rows:
            raise NotFound
        row = rows[0]
        if row["state"] in LIVE_STATES:
            self._take(self._screen.take_all(await self._log()))
            return self._stopped() if self._screen.leaked else None
        if row["state"] != JobState.COMPLETED:
            raise failure_of(row["state"])
        return self._whole(row)

    def _whole(self, row: Mapping[str, Any]) -> Ended:
        text = restore(row["output"], self._ticket.values)
        if self._guard is not None and find_leak(text, self._guard):
            return self._stopped()
        self._written = self._said + rest_after(self._said, text)
        return Ended(
            text=text,
            tool_calls=restore_calls(row["tool_calls"] or [], self._ticket.values),
            finish_reason=row["finish_reason"],
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["tokens_generated"],
        )

    def _stopped(self) -> Ended:
        """An answer that begins to recite its instructions ends where it stands."""
        self._written = self._said
        return Ended(self._said, [], FINISH_REASON, 0, 0)

    async def _live(self, inbox: Inbox) -> AsyncIterator[str]:
        """Until the job has ended, something was missed, or nothing came for long."""
        while True:
            event = await inbox.get(IDLE_POLL_S if hub().connected else POLL_S)
            if event is None or event.get("type") == "done":
                return
            entry = entry_of_event(event)
            if entry is None:
                continue
            if self._screen.has_gap_before(entry):
                return
            self._take(self._screen.take(entry))
            if self._screen.leaked:
                self.ended = self._stopped()
                return
            yield self._news()

    async def _log(self) -> list[StreamEntry]:
        try:
            return await read_stream(self._ticket.job_id)
        except (RedisError, OSError):
            return []

    def _take(self, entries: Iterable[StreamEntry]) -> None:
        for entry in entries:
            self._written = "" if entry.kind == EntryKind.RESET else self._written[: entry.offset] + entry.text

    def _news(self) -> str:
        """What was written and not said yet; nothing while an answer that starts over catches up."""
        if self._said.startswith(self._written):
            return ""
        if not self._written.startswith(self._said):
            raise AnswerRestarted
        news = self._written[len(self._said) :]
        self._said = self._written
        return news


def rest_after(said: str, output: str) -> str:
    """What completes a text that was said already; markers and spaces that the end took out of it stay said."""
    if output.startswith(said):
        return output[len(said) :]
    if not LIGHT.sub("", output).startswith(LIGHT.sub("", said)):
        raise AnswerRestarted
    left = len(LIGHT.sub("", said))
    heavy = (piece for piece in PIECE.finditer(output) if not LIGHT.fullmatch(piece[0]))
    end = [0, *(piece.end() for piece in itertools.islice(heavy, left))][-1]
    ended_lightly = LIGHTS_AT_END.search(said) is not None
    return LIGHTS_AT_START.sub("", output[end:]) if ended_lightly else output[end:]


def failure_of(state: str) -> ApplicationError:
    return ENDINGS.get(state, AnswerFailed)()
