"""The shapes that come in and go out; what they mean is decided in `services`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chats.choices import Mode, Position, Role, Status, Verdict
from chats.fields import ToolChoiceField, ToolsField, named_function
from chats.limits import (
    MAX_ANSWER_TOKENS,
    MAX_CONTEXT_CHARS,
    MAX_MESSAGE_CHARS,
    MAX_TOOL_RESULT_CHARS,
    MAX_TOOL_RESULTS,
)
from chats.tokens import MAX_TOKEN_CHARS
from mia.lib.fields import IdField, StrictInteger, StrictNumber, StrictText, StrictUuid

JOB_STATUSES = ("queued", "processing", "completed", "failed", "cancelled", "expired")
REPLY_STATUSES = ("queued", "completed", "failed", "cancelled", "expired", "delivered")


class SessionField(StrictText):
    """A signed session token; X-Session-Token says the same."""

    def __init__(self) -> None:
        super().__init__(required=False, allow_blank=True, allow_null=True, max_length=MAX_TOKEN_CHARS, write_only=True)


class ToolResultRequest(serializers.Serializer[Any]):
    """What a function that the model had called returned."""

    tool_call_id = StrictText(max_length=100)
    content = StrictText(max_length=MAX_TOOL_RESULT_CHARS, allow_blank=True, trim_whitespace=False)


class ChatRequest(serializers.Serializer[Any]):
    """A visitor's message. Without `session_id` it opens a conversation."""

    message = StrictText(required=False, max_length=MAX_MESSAGE_CHARS)
    session_id = StrictUuid(required=False, allow_null=True)
    session_token = SessionField()
    bot_id = IdField(required=False, allow_null=True)
    business_id = IdField(required=False, allow_null=True, help_text="May be left out; the key says it.")
    context = StrictText(  # type: ignore[assignment]  # DRF's own name for what a serializer is given
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=MAX_CONTEXT_CHARS,
        trim_whitespace=False,
        help_text="More facts, for this question only.",
    )
    tools = ToolsField(required=False)
    tool_choice = ToolChoiceField(required=False)
    tool_results = ToolResultRequest(many=True, required=False)
    max_tokens = StrictInteger(required=False, allow_null=True, min_value=1, max_value=MAX_ANSWER_TOKENS)
    temperature = StrictNumber(required=False, allow_null=True, min_value=0.0, max_value=2.0)

    def validate_tool_results(self, results: list[dict[str, str]]) -> list[dict[str, str]]:
        if len(results) > MAX_TOOL_RESULTS:
            raise serializers.ValidationError(f"At most {MAX_TOOL_RESULTS}.")
        return results

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("message") and not attrs.get("tool_results"):
            raise serializers.ValidationError({"message": ["This field is required."]})
        if attrs.get("tool_results") and not attrs.get("session_id"):
            raise serializers.ValidationError({"tool_results": ["Only within a session."]})
        name = named_function(attrs.get("tool_choice"))
        if name is not None and name not in {tool["function"]["name"] for tool in attrs.get("tools", [])}:
            raise serializers.ValidationError({"tool_choice": ["It names a function that is not among the tools."]})
        return attrs


class FeedbackRequest(serializers.Serializer[Any]):
    """A thumb for one answer."""

    message_id = IdField()
    feedback = serializers.ChoiceField(choices=Verdict.choices)
    reason = StrictText(required=False, allow_blank=True, max_length=1000)
    session_token = SessionField()


class LeadRequest(serializers.Serializer[Any]):
    """Contact details; an e-mail address or a phone number at least."""

    name = StrictText(required=False, allow_blank=True, max_length=150)
    email = serializers.EmailField(required=False, allow_blank=True, max_length=254)
    phone = StrictText(required=False, allow_blank=True, max_length=40)
    note = StrictText(required=False, allow_blank=True, max_length=2000)
    session_token = SessionField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("email") and not attrs.get("phone"):
            raise serializers.ValidationError({"email": ["Leave an e-mail address or a phone number."]})
        return attrs


class HandoffRequest(serializers.Serializer[Any]):
    """A wish for a human."""

    reason = StrictText(required=False, allow_blank=True, max_length=1000)
    session_token = SessionField()


class RatingRequest(serializers.Serializer[Any]):
    """How satisfied the visitor was, 1 to 5."""

    score = StrictInteger(min_value=1, max_value=5)
    comment = StrictText(required=False, allow_blank=True, max_length=1000)
    session_token = SessionField()


class SessionRequest(serializers.Serializer[Any]):
    """Nothing but the session's token, if it is not in the header."""

    session_token = SessionField()


class ToolCallSchema(serializers.Serializer[Any]):
    """A function that the model calls, as OpenAI's API writes it."""

    id = serializers.CharField()
    type = serializers.CharField()
    function = serializers.DictField()


class CitationSchema(serializers.Serializer[Any]):
    """Where an answer comes from."""

    index = serializers.IntegerField(required=False, help_text="Its number in the answer, such as [1].")
    title = serializers.CharField()
    url = serializers.CharField(required=False, help_text="Empty for a source that is no page.")
    snippet = serializers.CharField(required=False, help_text="How the passage begins.")


class ChatReply(serializers.Serializer[Any]):
    """A message was taken; its answer follows on `stream_url`, or is here already."""

    job_id = serializers.UUIDField(allow_null=True, help_text="null: a human answers.")
    session_id = serializers.UUIDField()
    session_token = serializers.CharField()
    status = serializers.ChoiceField(choices=REPLY_STATUSES)
    mode = serializers.ChoiceField(choices=Mode.choices)
    message = serializers.CharField()
    response = serializers.CharField(allow_null=True)
    tool_calls = ToolCallSchema(many=True, allow_null=True)
    citations = CitationSchema(many=True)
    stream_url = serializers.CharField()
    poll_url = serializers.CharField(allow_null=True)
    position = serializers.IntegerField(allow_null=True)
    eta_ms = serializers.IntegerField(allow_null=True)


class JobResultSchema(serializers.Serializer[Any]):
    """A finished answer."""

    response = serializers.CharField()
    tool_calls = ToolCallSchema(many=True, allow_null=True)
    citations = CitationSchema(many=True)
    tokens_generated = serializers.IntegerField()
    processing_time = serializers.FloatField(help_text="Seconds.")


class JobReply(serializers.Serializer[Any]):
    """Where a job stands."""

    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=JOB_STATUSES)
    result = JobResultSchema(allow_null=True)


class MessageSchema(serializers.Serializer[Any]):
    """One message of a conversation."""

    id = serializers.IntegerField()
    role = serializers.ChoiceField(choices=Role.choices)
    content = serializers.CharField()
    name = serializers.CharField(help_text="The agent's; empty for others.")
    created_at = serializers.DateTimeField()
    job_id = serializers.UUIDField(allow_null=True)
    tool_calls = ToolCallSchema(many=True)
    citations = CitationSchema(many=True)
    feedback = serializers.ChoiceField(choices=Verdict.choices, allow_null=True)


class ActiveJobSchema(serializers.Serializer[Any]):
    """An answer on its way."""

    job_id = serializers.UUIDField()
    stream_url = serializers.CharField()


class MessagesReply(serializers.Serializer[Any]):
    """A conversation, oldest message first, the last 200 or those before the cursor."""

    session_id = serializers.UUIDField()
    mode = serializers.ChoiceField(choices=Mode.choices)
    status = serializers.ChoiceField(choices=Status.choices)
    messages = MessageSchema(many=True)
    active_job = ActiveJobSchema(allow_null=True)
    before = serializers.IntegerField(allow_null=True, help_text="Pass it to get the messages before these.")


class FeedbackReply(serializers.Serializer[Any]):
    """The thumb as it is kept."""

    message_id = serializers.IntegerField()
    feedback = serializers.ChoiceField(choices=Verdict.choices)
    reason = serializers.CharField()


class LeadReply(serializers.Serializer[Any]):
    """The contact details were kept."""

    lead_id = serializers.IntegerField()
    message = serializers.CharField()


class HandoffReply(serializers.Serializer[Any]):
    """A human was asked for."""

    session_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    mode = serializers.ChoiceField(choices=Mode.choices)
    message = serializers.CharField()


class RatingReply(serializers.Serializer[Any]):
    """The rating as it is kept."""

    session_id = serializers.UUIDField()
    score = serializers.IntegerField()
    comment = serializers.CharField()


class StreamTokenReply(serializers.Serializer[Any]):
    """A fresh token for the event stream and the socket, good for 15 minutes."""

    stream_token = serializers.CharField()
    stream_url = serializers.CharField()


class LookSchema(serializers.Serializer[Any]):
    """How the widget looks."""

    color = serializers.CharField()
    position = serializers.ChoiceField(choices=Position.choices)
    title = serializers.CharField()


class BotSchema(serializers.Serializer[Any]):
    """What a visitor may know of a bot."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    first_message = serializers.CharField()
    confirmation_message = serializers.CharField()
    languages = serializers.ListField(child=serializers.CharField())
    look = LookSchema()


class ConfigReply(serializers.Serializer[Any]):
    """What the widget needs before the first message."""

    bot = BotSchema()
    locale = serializers.CharField()
