"""Tool calls found in streamed text."""

import json

import pytest

from gpu_miner.engines.batched.tool_calls import MAX_CALL_CHARS, ToolCallParser

CALL = '<tool_call>\n{"name": "find_order", "arguments": {"number": "A-17", "note": "café"}}\n</tool_call>'


def parse(text: str, size: int = 1, opening: str = "") -> tuple[str, ToolCallParser]:
    parser = ToolCallParser(opening)
    shown = "".join(parser.feed(text[at : at + size])[0] for at in range(0, len(text), size))
    return shown + parser.close(), parser


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_is_taken_out_of_the_text_however_it_is_cut(size: int) -> None:
    shown, parser = parse(f"Let me look.\n{CALL}", size)
    assert shown == "Let me look.\n"
    assert [call["function"]["name"] for call in parser.calls] == ["find_order"]
    assert json.loads(parser.calls[0]["function"]["arguments"]) == {"number": "A-17", "note": "café"}


def test_calls_come_in_openais_streamed_shape() -> None:
    parser = ToolCallParser()
    _, calls = parser.feed(CALL + "\n" + CALL)
    assert [call["index"] for call in calls] == [0, 1]
    assert all(call["type"] == "function" and call["id"].startswith("call_") for call in calls)
    assert len({call["id"] for call in parser.calls}) == 2
    assert "index" not in parser.calls[0]


def test_line_breaks_around_calls_are_no_answer() -> None:
    shown, parser = parse(f"{CALL}\n{CALL}\n")
    assert (shown, len(parser.calls)) == ("", 2)


def test_text_that_only_looks_like_a_mark_is_shown() -> None:
    assert parse("a < b, <tool> and <tool_cal")[0] == "a < b, <tool> and <tool_cal"


@pytest.mark.parametrize("body", ["not json", "[1]", '{"arguments": {}}', "[" * 100_000])
def test_a_broken_call_is_shown_as_it_stands(body: str) -> None:
    shown, parser = parse(f"<tool_call>{body}</tool_call>", 1000)
    assert shown == f"<tool_call>{body}</tool_call>"
    assert parser.calls == []


def test_a_call_that_never_closes_is_text() -> None:
    assert parse('<tool_call>{"name": "x"')[0] == '<tool_call>{"name": "x"'
    long = "<tool_call>" + "x" * MAX_CALL_CHARS
    parser = ToolCallParser()
    assert parser.feed(long)[0] == long


def test_a_demanded_call_goes_on_after_its_opening() -> None:
    shown, parser = parse('{"number": "A-17"}}\n</tool_call>', opening='<tool_call>\n{"name": "find", "arguments": ')
    assert shown == ""
    assert parser.calls[0]["function"] == {"name": "find", "arguments": '{"number": "A-17"}'}


def test_arguments_that_are_text_already_stay_as_they_are() -> None:
    _, parser = parse('<tool_call>{"name": "x", "arguments": "{\\"a\\": 1}"}</tool_call>')
    assert parser.calls[0]["function"]["arguments"] == '{"a": 1}'
