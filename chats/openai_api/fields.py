"""Fields of OpenAI's requests that take more than one shape."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chats.openai_api.limits import (
    MAX_CONTENT_CHARS,
    MAX_PARTS,
    MAX_SCHEMA_CHARS,
    MAX_STOP_CHARS,
    MAX_STOPS,
    MAX_TEXT_CHARS,
    MAX_TEXTS,
    MAX_TEXTS_CHARS,
)

FORMATS = frozenset({"text", "json_object", "json_schema"})
TEXT_OR_LIST = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}], "nullable": True})
class ContentField(serializers.Field[Any, Any, Any, Any]):
    """A text, or a list of text parts; kept as one text."""

    def to_representation(self, value: Any) -> Any:
        return value

    def to_internal_value(self, data: Any) -> str:
        text = data if isinstance(data, str) else "".join(map(_text_of_part, _parts(data)))
        if len(text) > MAX_CONTENT_CHARS:
            raise serializers.ValidationError(f"At most {MAX_CONTENT_CHARS} characters.")
        return text


@extend_schema_field(TEXT_OR_LIST)
class StopField(serializers.Field[Any, Any, Any, Any]):
    """One to four texts that end an answer."""

    def to_representation(self, value: Any) -> Any:
        return value

    def to_internal_value(self, data: Any) -> list[str]:
        stops = [data] if isinstance(data, str) else data
        if not isinstance(stops, list) or len(stops) > MAX_STOPS:
            raise serializers.ValidationError(f"A text, or at most {MAX_STOPS} of them.")
        if not all(isinstance(stop, str) and 0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
            raise serializers.ValidationError(f"Each must be a text of 1 to {MAX_STOP_CHARS} characters.")
        return stops


@extend_schema_field(TEXT_OR_LIST)
class TextsField(serializers.Field[Any, Any, Any, Any]):
    """One text or several."""

    def to_representation(self, value: Any) -> Any:
        return value

    def to_internal_value(self, data: Any) -> list[str]:
        texts = [data] if isinstance(data, str) else data
        if not isinstance(texts, list) or not texts or len(texts) > MAX_TEXTS:
            raise serializers.ValidationError(f"A text, or 1 to {MAX_TEXTS} of them.")
        if not all(isinstance(text, str) for text in texts):
            raise serializers.ValidationError("Send texts, not numbers of tokens, which mean nothing to other models.")
        if not all(text.strip() and len(text) <= MAX_TEXT_CHARS for text in texts):
            raise serializers.ValidationError(f"Each must have 1 to {MAX_TEXT_CHARS} characters.")
        if sum(map(len, texts)) > MAX_TEXTS_CHARS:
            raise serializers.ValidationError(f"All together may have {MAX_TEXTS_CHARS} characters.")
        return texts


class ResponseFormatField(serializers.DictField):
    """`text`, `json_object`, or a `json_schema`."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        given: dict[str, Any] = super().to_internal_value(data)
        kind = given.get("type")
        if kind not in FORMATS:
            raise serializers.ValidationError(f"The type is one of {', '.join(sorted(FORMATS))}.")
        if kind != "json_schema":
            return {"type": kind}
        described = given.get("json_schema")
        described = described if isinstance(described, dict) else {}
        schema = described.get("schema")
        if not isinstance(schema, dict) or len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
            raise serializers.ValidationError(
                f"json_schema.schema is an object of {MAX_SCHEMA_CHARS} characters at most."
            )
        named = {"name": str(described.get("name", "answer"))[:64], "schema": schema, "strict": True}
        return {"type": "json_schema", "json_schema": named}


def _parts(data: Any) -> list[Any]:
    if not isinstance(data, list) or len(data) > MAX_PARTS:
        raise serializers.ValidationError(f"A text, or at most {MAX_PARTS} parts of text.")
    return data


def _text_of_part(part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise serializers.ValidationError("Only parts of the type text are read here.")
    return str(part["text"])
