"""The visitors' native lane as the OpenAPI schema shows it."""

from __future__ import annotations

from typing import ClassVar, Final
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import ScopedAPIView
from accounts.choices import KeyScope
from accounts.principals import PrincipalKind
from chats.views import SESSION_HEADER
from mia.lib.errors import NotFound
from mia.lib.lane_schema import LaneOperation

SESSION_ID = OpenApiParameter("session_id", OpenApiTypes.UUID, OpenApiParameter.PATH)
STREAM_TOKEN = OpenApiParameter(
    "stream_token", str, description="Of `stream_url` or POST …/stream_token; good for 15 minutes."
)
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID", str, OpenApiParameter.HEADER, description="`<attempt>.<offset>`: only what comes after is sent."
)
EVENTS = """Server-sent events, each with one JSON object:

`queued {job_id, position, eta_ms}` · `started {job_id, attempt, model}` · `delta {job_id, attempt, offset, text}` ·
`reset {job_id, attempt}`: the answer starts over · `tool_call {job_id, tool_calls}` ·
`done {job_id, status, finish_reason, usage, citations, message_id}` ·
`message {id, role, content, name, created_at, job_id}`: of a human · `typing {role}` · `mode {mode}` ·
`error {job_id, error_code, detail, timestamp, offer_human, final}`: no answer will come if final, else it may yet.

Offsets count Unicode code points of the whole answer.
"""


class EventStreamView(ScopedAPIView):
    """Everything that happens in a conversation, as it happens."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset({PrincipalKind.SECRET, PrincipalKind.DASHBOARD})
    key_scope: ClassVar[KeyScope | None] = KeyScope.CHAT

    @extend_schema(
        operation_id="chat_events",
        tags=["chat"],
        parameters=[SESSION_ID, STREAM_TOKEN, SESSION_HEADER, LAST_EVENT_ID],
        responses={(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description=EVENTS)},
    )
    def get(self, request: Request, session_id: UUID) -> Response:
        """Follows a conversation; resumes after Last-Event-ID."""
        raise NotFound


OPERATIONS: Final = (LaneOperation("/chat/{session_id}/events", "GET", EventStreamView),)
