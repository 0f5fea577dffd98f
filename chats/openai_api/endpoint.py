"""Completions and embeddings on the native lane: Django checks and queues, and no thread is held by the wait."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.utils import timezone

from accounts.tenancy import business_scope
from chats.admittance import in_thread
from chats.consumers import KEEP_ALIVE, STREAM_HEADERS, Application, Inner
from chats.guardrails.answers import FINISH_REASON, guard_now
from chats.openai_api import completions, embeddings, shapes
from chats.openai_api.completions import Ticket
from chats.openai_api.following import AnswerReader, Ended
from knowledge import answering
from mia.lib.api import application_error
from mia.lib.cancellation import end_tasks
from mia.lib.errors import ApplicationError
from mia.lib.hot import HotEndpoint, HotRequest, HotResponse, Receive, Scope, Send
from mia.lib.per_loop import PerLoop

KEEP_ALIVE_S: Final = 15.0
EMBEDDED_AT_ONCE: Final = 2

_hanging_up: set[asyncio.Task[None]] = set()
# An embedder may wait for miners, in a thread of a pool that everybody needs.
_embedders: Final = PerLoop(lambda: asyncio.Semaphore(EMBEDDED_AT_ONCE))


class Queued(HotEndpoint):
    """A request that Django takes and checks, answering with a ticket; what follows is awaited here."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})

    def __init__(self, scope: Scope, receive: Receive, send: Send, django: Application) -> None:
        super().__init__(scope, receive, send)
        self._django = django

    @classmethod
    def around(cls, django: Application) -> Application:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] == "POST":
                await cls(scope, receive, send, django)._serve()
            else:
                await django(scope, receive, send)

        return application

    async def handle(self, request: HotRequest) -> HotResponse | None:
        reply = await Inner(self._django).ask(request)
        if reply.status != 200:
            await self.start(reply.status, reply.headers)
            await self.write(reply.body, more=False)
            return None
        try:
            return await self.redeem(json.loads(reply.body))
        except ApplicationError as error:
            return refused(error)

    async def redeem(self, ticket: Mapping[str, Any]) -> HotResponse | None:
        raise NotImplementedError


class CompletionEndpoint(Queued):
    """`POST /v1/chat/completions`."""

    async def redeem(self, ticket: Mapping[str, Any]) -> HotResponse | None:
        taken = Ticket.read(ticket)
        try:
            return await (self._stream(taken) if taken.stream else self._whole(taken))
        except asyncio.CancelledError:
            _hang_up(taken)
            raise

    async def _whole(self, ticket: Ticket) -> HotResponse:
        reader = await _reader(ticket)
        async for _piece in reader.pieces():
            pass
        assert reader.ended is not None
        _free(ticket, reader.ended)
        return HotResponse(shapes.completion(ticket, reader.ended, await _sources(ticket)))

    async def _stream(self, ticket: Ticket) -> None:
        await self.start(200, STREAM_HEADERS)
        await self._write_event(shapes.chunk(ticket, {"role": "assistant", "content": ""}))
        try:
            ended = await self._write_words(ticket)
        except Exception as error:  # noqa: BLE001  (the edge: the status line is gone, the stream itself has to say it)
            await self._write_event(shapes.error(application_error(error)))
        else:
            await self._write_ending(ticket, ended)
        await self.write(shapes.DONE, more=False)

    async def _write_words(self, ticket: Ticket) -> Ended:
        reader, spoke_at = await _reader(ticket), time.monotonic()
        async for piece in reader.pieces():
            if piece:
                await self._write_event(shapes.chunk(ticket, {"content": piece}))
            elif time.monotonic() - spoke_at >= KEEP_ALIVE_S:
                await self.write(KEEP_ALIVE, more=True)
            else:
                continue
            spoke_at = time.monotonic()
        assert reader.ended is not None
        return reader.ended

    async def _write_ending(self, ticket: Ticket, ended: Ended) -> None:
        _free(ticket, ended)
        if ended.tool_calls:
            await self._write_event(shapes.chunk(ticket, shapes.tool_call_deltas(ended.tool_calls)))
        sources = await _sources(ticket)
        await self._write_event(
            shapes.chunk(ticket, {}, finish_reason=shapes.finish_reason(ended), sources=list(sources))
        )
        if ticket.include_usage:
            await self._write_event(shapes.usage_chunk(ticket, ended))

    async def _write_event(self, data: Mapping[str, Any]) -> None:
        await self.write(shapes.event(data), more=True)


class EmbeddingsEndpoint(Queued):
    """`POST /v1/embeddings`: outside of any transaction, since miners that are asked have to see what was queued."""

    async def redeem(self, ticket: Mapping[str, Any]) -> HotResponse | None:
        async with _embedders():
            return HotResponse(await in_thread(embeddings.embed)(ticket))


def refused(error: ApplicationError) -> HotResponse:
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    return HotResponse(shapes.error(error), status=error.status, headers=headers)


async def close() -> None:
    """Waits for the cancellations that are on their way."""
    await end_tasks(list(_hanging_up))


def _hang_up(ticket: Ticket) -> None:
    """Cancels the job behind the back of a caller that has left."""
    task = asyncio.ensure_future(in_thread(completions.cancel)(ticket, timezone.now()))
    _hanging_up.add(task)
    task.add_done_callback(_hanging_up.discard)


def _free(ticket: Ticket, ended: Ended) -> None:
    """What was stopped on its way need not be written to its end."""
    if ended.finish_reason == FINISH_REASON:
        _hang_up(ticket)


async def _reader(ticket: Ticket) -> AnswerReader:
    guard = None if ticket.bot_id is None else await in_thread(guard_now)(ticket.bot_id)
    return AnswerReader(ticket, guard)


async def _sources(ticket: Ticket) -> list[Any]:
    return await in_thread(_read_sources)(ticket) if ticket.bot_id is not None else []


def _read_sources(ticket: Ticket) -> list[Any]:
    with business_scope(ticket.business_id):
        return list(answering.sources_of(business_id=ticket.business_id, job_id=ticket.job_id))
