"""Structured logs: one line per event, tied to a request and a job, with no credential in it.

Settings import this module, so it reads no setting itself.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as PythonJsonFormatter

LogFormat = Literal["json", "console"]

REDACTED = "[redacted]"
CONTEXT_FIELDS = ("request_id", "job_id")
CREDENTIAL_FIELDS = (
    "authorization|x-api-key|x-session-token|cookie|set-cookie|stream_token|session_token|enrolment_token"
    "|auth_key|api_key|password|secret_key|csrfmiddlewaretoken|sessionid"
)

_API_KEY = re.compile(r"\bmia_(pk|sk|ck|mk)_[A-Za-z0-9]+")
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=:-]{6,}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_NAMED_CREDENTIAL = re.compile(
    rf"\b({CREDENTIAL_FIELDS})(\\?[\"']?\s*[:=]\s*(?:b(?=[\"']))?\\?[\"']?)(?:bearer\s+|basic\s+)?[^\s\"'&,;{{}}\[\])\\]+",
    re.IGNORECASE,
)
_CREDENTIAL_FIELD = re.compile(rf"(?:{CREDENTIAL_FIELDS})", re.IGNORECASE)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_context: dict[str, ContextVar[str]] = {name: ContextVar(name, default="") for name in CONTEXT_FIELDS}


def current_request_id() -> str:
    """The id of the request being handled, or the empty string."""
    return _context["request_id"].get()


@contextmanager
def bind_request(request_id: str) -> Iterator[None]:
    """Writes this request's id beside every line logged inside."""
    with _bound(_context["request_id"], request_id):
        yield


@contextmanager
def bind_job(job_id: object) -> Iterator[None]:
    """Writes this job's id beside every line logged inside."""
    with _bound(_context["job_id"], str(job_id)):
        yield


@contextmanager
def _bound(variable: ContextVar[str], value: str) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def redact(text: str) -> str:
    """The text without API keys, bearer tokens, JWTs and the values of well-known secret fields."""
    text = _API_KEY.sub(rf"mia_\1_{REDACTED}", text)
    text = _NAMED_CREDENTIAL.sub(rf"\1\2{REDACTED}", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    return _JWT.sub(REDACTED, text)


def redact_value(value: object) -> object:
    """The same for a logged field, whatever is nested in it; an unknown object is logged as its text."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case Mapping():
            return {str(key): _redact_item(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redact_value(item) for item in value]
        case _:
            return redact(str(value))


def _redact_item(key: str, value: object) -> object:
    return REDACTED if value and _CREDENTIAL_FIELD.fullmatch(key) else redact_value(value)


def escape_control_characters(text: str) -> str:
    """CR, LF, ANSI sequences and their kin as visible escapes, so that one event stays one line and moves no cursor."""
    return _CONTROL_CHARACTER.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


class ContextFilter(logging.Filter):
    """Puts the request's and the job's id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, variable in _context.items():
            if not getattr(record, name, ""):
                setattr(record, name, variable.get())
        return True


class JsonFormatter(PythonJsonFormatter):
    """One JSON object per line; its encoding escapes control characters by itself."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            # Django attaches the whole request to its records; the id says which one it was.
            reserved_attrs=[*RESERVED_ATTRS, "request", "server_time", "taskName"],
            timestamp=True,
        )

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        return {
            key: value.isoformat(timespec="milliseconds") if key == "timestamp" else _redact_item(key, value)  # type: ignore[attr-defined]
            for key, value in log_data.items()
            if value or key not in CONTEXT_FIELDS
        }


class ConsoleFormatter(logging.Formatter):
    """A short line for people; tracebacks are indented, so that their text cannot pass for a line of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        line = escape_control_characters(redact(super().formatMessage(record)))
        ids = [f"{name[:-3]}={value}" for name in CONTEXT_FIELDS if (value := getattr(record, name, ""))]
        return " ".join([line, *ids])

    def format(self, record: logging.LogRecord) -> str:
        first, *rest = super().format(record).split("\n")
        return "\n".join([first, *(f"    {escape_control_characters(redact(line))}" for line in rest)])


FORMATTERS: Mapping[LogFormat, str] = {
    "json": "mia.lib.logging.JsonFormatter",
    "console": "mia.lib.logging.ConsoleFormatter",
}


def logging_config(level: str, log_format: str) -> dict[str, object]:
    """The LOGGING setting: everything to stderr in one format."""
    if log_format not in FORMATTERS:
        raise ValueError(f"The log format must be one of {', '.join(FORMATTERS)}.")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"context": {"()": "mia.lib.logging.ContextFilter"}},
        "formatters": {"line": {"()": FORMATTERS[log_format]}},  # type: ignore[index]
        "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["context"], "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own handler would print each line a second time; refusals (4xx) are answers, not news.
            "django": {"handlers": [], "level": level if level != "DEBUG" else "INFO", "propagate": True},
            "django.request": {"level": "ERROR"},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            "daphne": {"level": "WARNING"},
            "rq.worker": {"handlers": [], "propagate": True},
        },
    }
