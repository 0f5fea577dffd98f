"""Masking words and putting them back, without a database."""

from __future__ import annotations

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from chats.masking.mask import Mask, restore, restore_calls
from chats.masking.screen import Screen
from mia.lib.personal_data import Kind, find
from miners.streams import EntryKind, StreamEntry

CARD = "4111 1111 1111 1111"
NO_CARD = "4111 1111 1111 1112"
ACCOUNT = "CH93 0076 2011 6238 5295 7"
PIECES = st.sampled_from(
    [
        "ana@example.org",
        CARD,
        NO_CARD,
        ACCOUNT,
        "+41 44 668 18 00",
        "Zoë Müller",
        "<EMAIL_1>",
        "<email_2>",
        "<",
        "<NAME_",
        "é",
        " ",
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=6)), max_size=12).map("".join)


def mask(**fields: object) -> Mask:
    return Mask(**{"region": "CH", "names": ["Zoë Müller"], **fields})  # type: ignore[arg-type]


def test_each_kind_of_data_gets_a_placeholder_of_its_kind() -> None:
    hidden = mask().hide(f"Ana: ana@example.org, {CARD}, {ACCOUNT}, 044 668 18 00, zoë müller.")
    assert hidden == "Ana: <EMAIL_1>, <CARD_1>, <IBAN_1>, <PHONE_1>, <NAME_1>."


def test_numbers_without_a_valid_checksum_stay_as_they_are() -> None:
    for text in (
        NO_CARD,
        "CH93 0076 2011 6238 5295 8",
        "Order 48151623",
        "Invoice 2026-11-30/4471",
        "1234567890123456",
    ):
        assert mask().hide(text) == text


def test_an_account_ends_where_its_number_ends() -> None:
    text = f"Pay to {ACCOUNT} and call me, de89370400440532013000 works too"
    assert [text[piece.start : piece.end] for piece in find(text, region="")] == [ACCOUNT, "de89370400440532013000"]


def test_a_value_keeps_its_placeholder_through_a_conversation() -> None:
    first = mask()
    first.hide("I am ana@example.org")
    later = mask(values=dict(first.values))
    assert later.hide("bob@example.org or ana@example.org?") == "<EMAIL_2> or <EMAIL_1>?"
    assert later.added == {"<EMAIL_2>": "bob@example.org"}


def test_a_business_keeps_its_own_address_in_its_facts() -> None:
    hiding = mask()
    hiding.hide("I am ana@example.org")
    assert (
        hiding.hide_known("Write to us@shop.example, not to ana@example.org.")
        == "Write to us@shop.example, not to <EMAIL_1>."
    )


def test_what_a_visitor_types_cannot_pass_for_a_placeholder() -> None:
    hiding = mask()
    hidden = hiding.hide("ana@example.org says <EMAIL_1> and <Email_1>")
    assert hidden == "<EMAIL_1> says <TEXT_1> and <TEXT_2>"
    assert restore(hidden, hiding.values) == "ana@example.org says <EMAIL_1> and <Email_1>"


def test_arguments_of_tools_stay_json_with_the_real_values() -> None:
    values = {"<NAME_1>": 'Ana "Nan" \\ Li', "<EMAIL_1>": "ana@example.org"}
    call = {"id": "1", "function": {"name": "find", "arguments": '{"who": "<NAME_1>", "to": ["<EMAIL_1>"]}'}}
    (restored,) = restore_calls([call], values)
    assert json.loads(restored["function"]["arguments"]) == {"who": 'Ana "Nan" \\ Li', "to": ["ana@example.org"]}
    assert Kind.EMAIL in mask(values=values).hide_in_calls([restored])[0]["function"]["arguments"]


@settings(max_examples=80, deadline=None)
@given(TEXTS, TEXTS)
def test_what_is_put_back_is_what_was_there(first: str, second: str) -> None:
    hiding = mask()
    hidden = [hiding.hide(first), hiding.hide(second)]
    assert [restore(text, hiding.values) for text in hidden] == [first, second]


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 40), max_size=8), st.integers(0, 30))
def test_a_stream_cut_anywhere_shows_what_is_stored(text: str, cuts: list[int], seen: int) -> None:
    """Live and read again from the log, by a reader that has seen the beginning already."""
    hiding = mask()
    written = hiding.hide(text)
    stored = restore(written, hiding.values)
    entries = pieces(written, cuts)
    screen = Screen(values=hiding.values)
    shown = "".join(joined(entry) for entry in entries for entry in screen.take(entry))
    assert stored.startswith(shown)
    assert not any(half in stored[len(shown) :] for half in ("@", " 1111")), (
        "more than half a placeholder was held back"
    )
    again = Screen(values=hiding.values).take_all(entries)
    assert "".join(joined(entry) for entry in again) == shown
    assert [entry.offset for entry in again] == [len("".join(joined(e) for e in again[:i])) for i in range(len(again))]


def pieces(text: str, cuts: list[int]) -> list[StreamEntry]:
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    return [StreamEntry(EntryKind.DELTA, 1, a, text[a:b]) for a, b in itertools.pairwise(places)]


def joined(entry: StreamEntry) -> str:
    return entry.text


def test_a_placeholder_cut_in_two_is_held_back_and_a_new_attempt_starts_over() -> None:
    screen = Screen(values={"<EMAIL_1>": "ana@example.org"})
    delta = EntryKind.DELTA
    assert [e.text for e in screen.take(StreamEntry(delta, 1, 0, "Hi <EMA"))] == ["Hi "]
    assert [(e.offset, e.text) for e in screen.take(StreamEntry(delta, 1, 7, "IL_1>!"))] == [(3, "ana@example.org!")]
    assert screen.take(StreamEntry(EntryKind.RESET, 2, 0, ""))[0].kind == EntryKind.RESET
    assert [(e.offset, e.text) for e in screen.take(StreamEntry(delta, 2, 0, "<EMAIL_1>"))] == [(0, "ana@example.org")]
