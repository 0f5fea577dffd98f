"""What must never be taken: each request here gets an error in the one shape, and nothing is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chats.limits import MAX_CONTEXT_CHARS, MAX_MESSAGE_CHARS
from chats.tests.callers import Caller, count_rows

pytestmark = pytest.mark.django_db

FUNCTION = {"name": "f", "parameters": {}}
DEEP: dict[str, Any] = {}
for _ in range(20):
    DEEP = {"a": DEEP}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {**FUNCTION, **function}}


BAD_FIELDS: dict[str, dict[str, Any]] = {
    "no message": {"message": None},
    "an empty message": {"message": ""},
    "a blank message": {"message": "   \n"},
    "a number for a message": {"message": 5},
    "a list for a message": {"message": ["hello"]},
    "an object for a message": {"message": {"text": "hello"}},
    "a message that is too long": {"message": "x" * (MAX_MESSAGE_CHARS + 1)},
    "a context that is too long": {"context": "x" * (MAX_CONTEXT_CHARS + 1)},
    "an object for a context": {"context": {"order": 17}},
    "a session id that is none": {"session_id": "abc"},
    "a number for a session id": {"session_id": 17},
    "a bot id in a text": {"bot_id": "1"},
    "a bot id of zero": {"bot_id": 0},
    "a huge bot id": {"bot_id": 2**63 - 1 + 1},
    "a negative business id": {"business_id": -1},
    "true for a business id": {"business_id": True},
    "max_tokens of zero": {"max_tokens": 0},
    "negative max_tokens": {"max_tokens": -5},
    "too many max_tokens": {"max_tokens": 4097},
    "max_tokens in a text": {"max_tokens": "100"},
    "a fraction of max_tokens": {"max_tokens": 1.5},
    "true for max_tokens": {"max_tokens": True},
    "a temperature above two": {"temperature": 2.01},
    "a negative temperature": {"temperature": -0.1},
    "a temperature in a text": {"temperature": "0.5"},
    "true for a temperature": {"temperature": True},
    "tools that are no list": {"tools": {"f": 1}},
    "a tool without a function": {"tools": [{"type": "function"}]},
    "a tool without a name": {"tools": [tool(name="")]},
    "a tool with a strange name": {"tools": [tool(name="rm -rf /")]},
    "a tool of another type": {"tools": [{**tool(), "type": "browser"}]},
    "a tool with more than it may have": {"tools": [{**tool(), "url": "http://10.0.0.1"}]},
    "parameters that are no object": {"tools": [tool(parameters=[1])]},
    "parameters that are too deep": {"tools": [tool(parameters=DEEP)]},
    "a tool that is too long": {"tools": [tool(parameters={"enum": ["x" * 9000]})]},
    "two tools of one name": {"tools": [tool(), tool()]},
    "too many tools": {"tools": [tool(name=f"f{number}") for number in range(33)]},
    "too much of tools": {"tools": [tool(name=f"f{n}", parameters={"e": ["x" * 7000]}) for n in range(5)]},
    "an unknown tool choice": {"tools": [tool()], "tool_choice": "sometimes"},
    "a tool choice that is not there": {"tool_choice": tool(name="g")},
    "tool results without a session": {"tool_results": [{"tool_call_id": "1", "content": "x"}]},
    "tool results that are no list": {"tool_results": "x"},
}

BAD_BODIES: dict[str, bytes] = {
    "no JSON": b"hello",
    "half of JSON": b'{"message": "hel',
    "invalid UTF-8": b'{"message": "\xff\xfe"}',
    "a NUL": b'{"message": "a\\u0000b"}',
    "half a surrogate pair": b'{"message": "\\ud800"}',
    "a list": b'[{"message": "hello"}]',
    "null": b"null",
    "nothing": b"",
    "a key twice": b'{"message": "a", "message": "b"}',
    "NaN": b'{"message": "a", "temperature": NaN}',
    "infinity": b'{"message": "a", "temperature": 1e999}',
    "a huge number": b'{"message": "a", "max_tokens": ' + b"9" * 5000 + b"}",
    "depth": b'{"message": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a byte order mark": b'\xef\xbb\xbf{"message": "hello"}',
}


def assert_refused(response: Any, before: object, *statuses: int) -> None:
    assert response.status_code in statuses, response.content
    error = response.json()
    assert set(error) == {"detail", "error_code", "timestamp"}
    assert "Traceback" not in json.dumps(error)
    assert count_rows() == before


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_bad_field_is_refused(server: Caller, fields: dict[str, Any]) -> None:
    before = count_rows()
    body = json.dumps({"message": "hello", **fields}).encode()
    assert_refused(server.send("post", "/chat", body), before, 400)


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_refused(server: Caller, body: bytes) -> None:
    before = count_rows()
    assert_refused(server.send("post", "/chat", body), before, 400)


def test_a_body_over_a_megabyte_is_refused(server: Caller) -> None:
    body = json.dumps({"message": "x" * 1_100_000}).encode()
    assert_refused(server.send("post", "/chat", body), count_rows(), 413)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_content_type_is_refused(server: Caller, content_type: str) -> None:
    response = server.client.post("/chat", data=b"message=hello", content_type=content_type, headers=server.headers())
    assert_refused(response, count_rows(), 415, 400)


@pytest.mark.parametrize("path", ["/chat/abc/messages", "/job/abc/result", "/chat/%00/messages", "/chat//messages"])
def test_an_address_that_is_none_is_not_found(server: Caller, path: str) -> None:
    assert_refused(server.get(path), count_rows(), 404, 400)


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_another_method_is_refused(server: Caller, method: str) -> None:
    assert_refused(server.send(method, "/chat", {}), count_rows(), 405)


@pytest.mark.parametrize("token", ["x", "a:b:c", "x" * 5000, "WyJhIl0:1:2", "ключ"])
def test_a_forged_session_token_opens_nothing(visitor: Caller, token: str) -> None:
    visitor.asked()
    before = count_rows()
    visitor.token = None
    assert_refused(visitor.ask(session_token=token), before, 404, 400)


def test_the_longest_allowed_message_is_taken(server: Caller) -> None:
    assert server.ask("x" * MAX_MESSAGE_CHARS).status_code == 200


@pytest.mark.parametrize("message", ["' OR 1=1 --", "<script>alert(1)</script>", "😀" * 100, "שלום", "{{7*7}}", "%s%n"])
def test_strange_words_are_words(server: Caller, message: str) -> None:
    server.asked(message)
    shown = server.get(server.in_session("messages")).json()
    assert shown["messages"][0]["content"] == message


def test_unknown_fields_are_ignored(server: Caller) -> None:
    assert server.ask(role="system", is_admin=True, miner_id=1).status_code == 200
