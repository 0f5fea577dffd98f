"""Errors as OpenAI's clients read them: an `error` object beside the platform's own fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mia.lib.errors import InvalidRequest, NotFound

KIND_OF_STATUS: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ModelNotFound(NotFound):
    """No bot and no miner has this name."""

    code = "MODEL_NOT_FOUND"
    default_detail = "There is no such model. GET /v1/models lists those there are."


class ContextTooLong(InvalidRequest):
    """More words than any miner with this model can read."""

    code = "CONTEXT_LENGTH_EXCEEDED"
    default_detail = "This is longer than what the model can read."


def with_error(body: Mapping[str, Any], status: int) -> dict[str, Any]:
    """The platform's error body, and what it says once more in OpenAI's shape."""
    message, parameter = _told(body.get("detail", ""))
    kind = KIND_OF_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = str(body.get("error_code", "")).lower()
    return {**body, "error": {"message": message, "type": kind, "param": parameter, "code": code}}


def _told(detail: object) -> tuple[str, str | None]:
    if not isinstance(detail, Mapping):
        return str(detail), None
    lines = [f"{name}: {' '.join(map(str, texts))}" for name, texts in detail.items()]
    return "; ".join(lines), next((str(name) for name in detail), None)
