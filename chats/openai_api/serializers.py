"""The requests of OpenAI's clients, checked: what is not supported is refused by name and never quietly ignored."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from chats.fields import ToolChoiceField, ToolsField, named_function
from chats.limits import MAX_ANSWER_TOKENS, MAX_TOOLS
from chats.openai_api.fields import ContentField, ResponseFormatField, StopField, TextsField
from chats.openai_api.limits import MAX_MESSAGES
from mia.lib.fields import StrictInteger, StrictNumber, StrictText

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_ARGUMENTS_CHARS = 16_000
UNSUPPORTED = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "functions": (None, []),
    "function_call": (None, "none"),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "web_search_options": (None,),
    "service_tier": (None, "auto", "default"),
}
"""What the network's engines cannot do, and the values that ask for nothing."""


class CalledFunction(serializers.Serializer[Any]):
    """A function's name and its arguments as JSON text."""

    name = StrictText(max_length=64)
    arguments = StrictText(max_length=MAX_ARGUMENTS_CHARS, allow_blank=True, trim_whitespace=False)


class ToolCall(serializers.Serializer[Any]):
    """A call that the model made earlier."""

    id = StrictText(max_length=100)
    type = serializers.ChoiceField(choices=["function"], default="function")
    function = CalledFunction()


class Message(serializers.Serializer[Any]):
    """One message of the talk so far."""

    role = serializers.ChoiceField(choices=ROLES)
    content = ContentField(required=False, allow_null=True)
    tool_calls = ToolCall(many=True, required=False, allow_null=True)
    tool_call_id = StrictText(required=False, max_length=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        calls = attrs.get("tool_calls") or []
        if len(calls) > MAX_TOOLS:
            raise serializers.ValidationError({"tool_calls": [f"At most {MAX_TOOLS}."]})
        if attrs["role"] == "tool" and not attrs.get("tool_call_id"):
            raise serializers.ValidationError({"tool_call_id": ["A tool's message names the call that it answers."]})
        if not attrs.get("content") and not calls and attrs["role"] != "tool":
            raise serializers.ValidationError({"content": ["This field is required."]})
        return attrs


class StreamOptions(serializers.Serializer[Any]):
    """What a stream holds beside the words."""

    include_usage = serializers.BooleanField(required=False, default=False)


class CompletionRequest(serializers.Serializer[Any]):
    """`POST /v1/chat/completions`; fields of OpenAI's that are not here are ignored where they change no answer."""

    model = StrictText(max_length=200, help_text="`bot`, `bot:<id>`, or a model of the network.")
    messages = Message(many=True, allow_empty=False)
    stream = serializers.BooleanField(required=False, default=False, allow_null=True)
    stream_options = StreamOptions(required=False, allow_null=True)
    tools = ToolsField(required=False, allow_null=True)
    tool_choice = ToolChoiceField(required=False, allow_null=True)
    parallel_tool_calls = serializers.BooleanField(required=False, allow_null=True)
    response_format = ResponseFormatField(required=False, allow_null=True)
    stop = StopField(required=False, allow_null=True)
    seed = StrictInteger(required=False, allow_null=True, min_value=-(2**63), max_value=2**63 - 1)
    n = StrictInteger(required=False, allow_null=True, min_value=1, max_value=1)
    max_tokens = StrictInteger(required=False, allow_null=True, min_value=1, max_value=MAX_ANSWER_TOKENS)
    max_completion_tokens = StrictInteger(required=False, allow_null=True, min_value=1, max_value=MAX_ANSWER_TOKENS)
    temperature = StrictNumber(required=False, allow_null=True, min_value=0.0, max_value=2.0)
    top_p = StrictNumber(required=False, allow_null=True, min_value=0.0, max_value=1.0)
    presence_penalty = StrictNumber(required=False, allow_null=True, min_value=-2.0, max_value=2.0)
    frequency_penalty = StrictNumber(required=False, allow_null=True, min_value=-2.0, max_value=2.0)
    user = StrictText(required=False, allow_null=True, allow_blank=True, max_length=512)

    def to_internal_value(self, data: Any) -> Any:
        refused = {
            name: ["This is not supported here."]
            for name, harmless in UNSUPPORTED.items()
            if isinstance(data, dict) and name in data and data[name] not in harmless
        }
        if refused:
            raise serializers.ValidationError(refused)
        return super().to_internal_value(data)

    def validate_messages(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(messages) > MAX_MESSAGES:
            raise serializers.ValidationError(f"At most {MAX_MESSAGES}.")
        if messages[-1]["role"] not in {"user", "tool"}:
            raise serializers.ValidationError("The last message must be the user's or a tool's.")
        return messages

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        name = named_function(attrs.get("tool_choice"))
        if name is not None and name not in {tool["function"]["name"] for tool in attrs.get("tools") or []}:
            raise serializers.ValidationError({"tool_choice": ["It names a function that is not among the tools."]})
        return attrs


class EmbeddingsRequest(serializers.Serializer[Any]):
    """`POST /v1/embeddings`."""

    model = StrictText(max_length=200)
    input = TextsField()
    encoding_format = serializers.ChoiceField(choices=["float", "base64"], required=False, default="float")
    dimensions = StrictInteger(required=False, allow_null=True, min_value=1)
    input_type = serializers.ChoiceField(
        choices=["passage", "query"],
        required=False,
        default="passage",
        help_text="Some models read questions and passages differently.",
    )
    user = StrictText(required=False, allow_null=True, allow_blank=True, max_length=512)


class Usage(serializers.Serializer[Any]):
    """Tokens."""

    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField(required=False)
    total_tokens = serializers.IntegerField()


class Choice(serializers.Serializer[Any]):
    """The answer."""

    index = serializers.IntegerField()
    message = serializers.DictField()
    finish_reason = serializers.CharField()


class CompletionReply(serializers.Serializer[Any]):
    """A completion; with `stream`, server-sent `chat.completion.chunk`s in its place."""

    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    model = serializers.CharField()
    choices = Choice(many=True)
    usage = Usage()
    sources = serializers.ListField(
        child=serializers.DictField(), help_text="What a bot's answer rests on: {index, title, url, snippet}."
    )


class ModelReply(serializers.Serializer[Any]):
    """A model, or a bot as one."""

    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    owned_by = serializers.CharField()
    name = serializers.CharField()


class ModelsReply(serializers.Serializer[Any]):
    """All models."""

    object = serializers.CharField()
    data = ModelReply(many=True)  # type: ignore[assignment]  # OpenAI's name, and DRF's for what a serializer holds


class EmbeddingsReply(serializers.Serializer[Any]):
    """Vectors in the order of the texts; base64 holds little-endian 32-bit floats."""

    object = serializers.CharField()
    model = serializers.CharField()
    data = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]  # as above
    usage = Usage()
