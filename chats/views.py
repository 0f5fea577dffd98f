"""The chat API: one service call per view."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from accounts.api import ScopedAPIView
from accounts.choices import KeyScope
from accounts.principals import Principal, PrincipalKind
from chats import admission, serializers, services
from chats.access import CHAT_KINDS
from chats.replies import stream_url
from chats.tokens import stream_token
from mia.lib.errors import InvalidRequest
from mia.lib.ratelimit import BucketThrottle
from mia.lib.shapes import validated

SESSION_HEADER = OpenApiParameter(
    "X-Session-Token", str, OpenApiParameter.HEADER, description="A visitor's; a business's own credential needs none."
)
IDEMPOTENCY_HEADER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key again gets the first reply."
)
PREFER_HEADER = OpenApiParameter("Prefer", str, OpenApiParameter.HEADER, description="`wait=30` waits for the answer.")
WAIT = OpenApiParameter("wait", int, description="Seconds to wait for the answer, at most 60.")
BEFORE = OpenApiParameter("before", int, description="Only messages with a smaller id.")
BOT = OpenApiParameter("bot_id", int, description="A bot of the business; the default one if left out.")


class KeyThrottle(BucketThrottle):
    """The speed of one credential and of its business."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        user: object = request.user
        if isinstance(user, Principal):
            admission.check_key(user)
        return True


class ChatAPIView(ScopedAPIView):
    """A view for whoever may speak in a business's chats."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = CHAT_KINDS
    key_scope: ClassVar[KeyScope | None] = KeyScope.CHAT
    throttle_classes = (KeyThrottle,)

    def caller(self, token: str | None = None) -> services.Caller:
        """The session's token comes in the header, or in a body that has one."""
        principal = self.principal
        assert principal is not None
        return services.Caller(
            principal=principal,
            address=BaseThrottle().get_ident(self.request) or "",
            session_token=self.request.headers.get("X-Session-Token") or token or "",
        )

    def checked(self, serializer: type[Serializer[Any]]) -> tuple[services.Caller, dict[str, Any]]:
        """The caller and the body's fields, without the token."""
        fields = validated(serializer, self.request.data)
        return self.caller(fields.pop("session_token", None)), fields


class ChatView(ChatAPIView):
    """Messages of visitors."""

    @extend_schema(
        operation_id="chat",
        tags=["chat"],
        parameters=[SESSION_HEADER, IDEMPOTENCY_HEADER, PREFER_HEADER, WAIT],
        request=serializers.ChatRequest,
        responses={200: serializers.ChatReply},
    )
    def post(self, request: Request) -> Response:
        """Asks a question. The answer is streamed at `stream_url`, kept at `poll_url`, or waited for."""
        caller, fields = self.checked(serializers.ChatRequest)
        question = services.Question(**{name: value for name, value in fields.items() if value is not None})
        key = request.headers.get("Idempotency-Key", "")
        return Response(services.ask(caller=caller, question=question, idempotency_key=key, now=timezone.now()))


class JobResultView(ChatAPIView):
    """Results of jobs."""

    @extend_schema(
        operation_id="job_result", tags=["chat"], parameters=[SESSION_HEADER], responses={200: serializers.JobReply}
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Where a job stands, and its answer once it is there."""
        return Response(services.read_job(caller=self.caller(), job_id=job_id))


class JobView(ChatAPIView):
    """Jobs."""

    @extend_schema(
        operation_id="cancel_job",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=None,
        responses={200: serializers.JobReply},
    )
    def delete(self, request: Request, job_id: UUID) -> Response:
        """Cancels a job; its GPU is free within a second. One that has ended stays as it is."""
        return Response(services.cancel(caller=self.caller(), job_id=job_id, now=timezone.now()))


class MessagesView(ChatAPIView):
    """Transcripts."""

    @extend_schema(
        operation_id="chat_messages",
        tags=["chat"],
        parameters=[SESSION_HEADER, BEFORE],
        responses={200: serializers.MessagesReply},
    )
    def get(self, request: Request, session_id: UUID) -> Response:
        """The last 200 messages, or the 200 before `before`."""
        before = _id_parameter(request, "before")
        return Response(services.read_messages(caller=self.caller(), session_id=session_id, before=before))


class FeedbackView(ChatAPIView):
    """Thumbs."""

    @extend_schema(
        operation_id="chat_feedback",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=serializers.FeedbackRequest,
        responses={200: serializers.FeedbackReply},
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """Rates one answer; the last word counts."""
        caller, fields = self.checked(serializers.FeedbackRequest)
        feedback = services.give_feedback(
            caller=caller,
            session_id=session_id,
            message_id=fields["message_id"],
            verdict=fields["feedback"],
            reason=fields.get("reason", ""),
            now=timezone.now(),
        )
        return Response({"message_id": feedback.message_id, "feedback": feedback.verdict, "reason": feedback.reason})


class LeadView(ChatAPIView):
    """Contact details."""

    @extend_schema(
        operation_id="chat_lead",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=serializers.LeadRequest,
        responses={200: serializers.LeadReply},
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """Leaves contact details for the business."""
        caller, contact = self.checked(serializers.LeadRequest)
        lead, thanks = services.leave_lead(caller=caller, session_id=session_id, contact=contact, now=timezone.now())
        return Response({"lead_id": lead.pk, "message": thanks or "Thank you, we will be in touch."})


class HandoffView(ChatAPIView):
    """Wishes for a human."""

    @extend_schema(
        operation_id="chat_handoff",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=serializers.HandoffRequest,
        responses={200: serializers.HandoffReply},
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """Asks for a human; the AI goes on answering until one comes."""
        caller, fields = self.checked(serializers.HandoffRequest)
        conversation = services.request_handoff(
            caller=caller, session_id=session_id, reason=fields.get("reason", ""), now=timezone.now()
        )
        return Response(
            {
                "session_id": str(conversation.public_id),
                "status": conversation.status,
                "mode": conversation.mode,
                "message": "The team was told.",
            }
        )


class RatingView(ChatAPIView):
    """Satisfaction."""

    @extend_schema(
        operation_id="chat_csat",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=serializers.RatingRequest,
        responses={200: serializers.RatingReply},
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """Rates the whole conversation; the last word counts."""
        caller, fields = self.checked(serializers.RatingRequest)
        rating = services.rate(
            caller=caller,
            session_id=session_id,
            score=fields["score"],
            comment=fields.get("comment", ""),
            now=timezone.now(),
        )
        return Response({"session_id": str(session_id), "score": rating.score, "comment": rating.comment})


class TypingView(ChatAPIView):
    """Signs of life while somebody writes."""

    @extend_schema(
        operation_id="chat_typing",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=serializers.SessionRequest,
        responses={204: None},
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """Shows agents that the visitor is writing."""
        caller, _fields = self.checked(serializers.SessionRequest)
        services.show_typing(caller=caller, session_id=session_id)
        return Response(status=204)


class StreamTokenView(ChatAPIView):
    """Tokens for streams and sockets."""

    @extend_schema(
        operation_id="chat_stream_token",
        tags=["chat"],
        parameters=[SESSION_HEADER],
        request=serializers.SessionRequest,
        responses={200: serializers.StreamTokenReply},
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """A token for the event stream and the socket of a session, good for 15 minutes."""
        caller, _fields = self.checked(serializers.SessionRequest)
        conversation = services.open_stream(caller=caller, session_id=session_id)
        token = stream_token(conversation_id=conversation.public_id, business_id=conversation.business_id)
        url = stream_url(conversation.public_id, conversation.business_id)
        return Response({"stream_token": token, "stream_url": url})


class ConfigView(ChatAPIView):
    """What the widget shows before the first message."""

    @extend_schema(
        operation_id="chat_config", tags=["chat"], parameters=[BOT], responses={200: serializers.ConfigReply}
    )
    def get(self, request: Request) -> Response:
        """The bot's name, greeting, languages and look."""
        bot_id = _id_parameter(request, "bot_id")
        return Response(services.read_config(caller=self.caller(), bot_id=bot_id))


def _id_parameter(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest({name: ["Must be a whole number."]})
    return int(text)
