"""Serializer fields of the chat API: functions that a model may call, and how."""

from __future__ import annotations

import json
import re
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chats.limits import MAX_TOOL_CHARS, MAX_TOOL_DEPTH, MAX_TOOLS, MAX_TOOLS_CHARS

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
TOOL_CHOICES = frozenset({"auto", "none", "required"})
ALLOWED_TOOL_KEYS = frozenset({"type", "function"})
MAX_DESCRIPTION_CHARS = 2_000


class ToolsField(serializers.ListField):
    """Functions that the model may call, as OpenAI's API describes them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(child=serializers.DictField(), max_length=MAX_TOOLS, **options)

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = super().to_internal_value(data)
        if sum(len(json.dumps(tool)) for tool in tools) > MAX_TOOLS_CHARS:
            raise serializers.ValidationError(f"All tools together may have {MAX_TOOLS_CHARS} characters.")
        checked = [_checked_tool(tool) for tool in tools]
        if len({tool["function"]["name"] for tool in checked}) < len(checked):
            raise serializers.ValidationError("Every tool needs a name of its own.")
        return checked


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "enum": sorted(TOOL_CHOICES)},
            {
                "type": "object",
                "required": ["type", "function"],
                "properties": {
                    "type": {"type": "string", "enum": ["function"]},
                    "function": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                },
            },
        ]
    }
)
class ToolChoiceField(serializers.Field[Any, Any, Any, Any]):
    """`auto`, `none`, `required`, or one function by name."""

    def to_representation(self, value: Any) -> Any:
        return value

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and data in TOOL_CHOICES:
            return data
        name = named_function(data)
        if name is None:
            raise serializers.ValidationError("Choose auto, none, required, or one function by name.")
        return {"type": "function", "function": {"name": name}}


def named_function(choice: Any) -> str | None:
    """The function that a tool choice names, if it is one that names one."""
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return None
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and TOOL_NAME.fullmatch(name) else None


def _checked_tool(tool: dict[str, Any]) -> dict[str, Any]:
    name = named_function(tool)
    if name is None or not tool.keys() <= ALLOWED_TOOL_KEYS:
        raise serializers.ValidationError('A tool is {"type": "function", "function": {"name": …}}.')
    function: dict[str, Any] = tool["function"]
    parameters, description = function.get("parameters", {}), function.get("description", "")
    if not isinstance(parameters, dict) or not isinstance(description, str):
        raise serializers.ValidationError(f"{name}: parameters is an object and description a text.")
    if len(description) > MAX_DESCRIPTION_CHARS or len(json.dumps(tool)) > MAX_TOOL_CHARS:
        raise serializers.ValidationError(f"{name}: a tool may have {MAX_TOOL_CHARS} characters.")
    if _depth(parameters) > MAX_TOOL_DEPTH or "\\u0000" in json.dumps(tool):
        raise serializers.ValidationError(f"{name}: the parameters are nested too deeply or hold a NUL.")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _depth(value: Any) -> int:
    """Levels of nesting; the parser has bounded them already."""
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in value), default=0)
    return 0
