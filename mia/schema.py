"""The OpenAPI schema's last touches: the hot lane is in it, and every operation says what its errors look like."""

from collections.abc import Callable
from typing import Any

from chats.lane_schema import OPERATIONS as CHAT_OPERATIONS
from mia.lib import lane_schema
from miners.lane_schema import OPERATIONS as MINER_OPERATIONS

Endpoint = tuple[str, str, str, Callable[..., Any]]
Schema = dict[str, Any]

ERROR_SCHEMA: Schema = {
    "type": "object",
    "description": "The one shape of every error.",
    "required": ["detail", "error_code", "timestamp"],
    "properties": {
        "detail": {
            "oneOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            ]
        },
        "error_code": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
}
LANE_OPERATIONS = (*MINER_OPERATIONS, *CHAT_OPERATIONS)
METHODS = frozenset({"get", "post", "put", "patch", "delete"})


def add_hot_lane(endpoints: list[Endpoint], **_options: Any) -> list[Endpoint]:
    """PREPROCESSING_HOOKS: the native endpoints, which no URL resolver knows."""
    return [*endpoints, *lane_schema.endpoints(LANE_OPERATIONS)]


def add_error_responses(result: Schema, **_options: Any) -> Schema:
    """POSTPROCESSING_HOOKS: 4XX and 5XX of every operation."""
    result["components"].setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    reply = {
        "description": "Error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for path in result["paths"].values():
        for method, operation in path.items():
            if method in METHODS:
                operation["responses"].setdefault("4XX", reply)
                operation["responses"].setdefault("5XX", reply)
    return result
