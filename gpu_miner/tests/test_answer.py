"""The text of an answer and its confirmed part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_miner.answer import Answer, Piece, sendable

ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_pending_text_stays_pending_until_it_is_confirmed() -> None:
    answer = Answer()
    answer.append("Hello ", 1)
    assert answer.pending(100) == answer.pending(100) == Piece(0, "Hello ", 1)
    answer.confirm(6)
    assert answer.pending(100) is None


def test_a_piece_is_no_longer_than_its_limit() -> None:
    answer = Answer()
    answer.append("abcdef", 2)
    assert answer.pending(4) == Piece(0, "abcd", 0)
    answer.confirm(4)
    assert answer.pending(4) == Piece(4, "ef", 2)


def test_a_rewind_sends_text_and_tokens_again() -> None:
    answer = Answer()
    answer.append("one ", 1)
    answer.append("two", 1)
    answer.confirm(7)
    answer.confirm(4)
    assert answer.pending(100) == Piece(4, "two", 1)


def test_a_confirmation_beyond_the_text_means_all_of_it() -> None:
    answer = Answer()
    answer.append("abc", 1)
    answer.confirm(99)
    assert answer.unsent == 0
    answer.append("d", 1)
    assert answer.pending(9) == Piece(3, "d", 1)


def test_a_resumed_answer_starts_after_what_was_shown() -> None:
    answer = Answer()
    answer.begin("Our shop")
    assert (answer.pending(100), answer.tokens) == (None, 0)
    answer.append(" opens", 1)
    assert answer.pending(100) == Piece(8, " opens", 1)


def test_a_resumed_answer_can_be_sent_from_the_start() -> None:
    answer = Answer()
    answer.begin("Our shop")
    answer.append(" opens", 1)
    answer.confirm(0)
    assert answer.pending(100) == Piece(0, "Our shop opens", 1)


def test_offsets_count_characters_and_not_bytes() -> None:
    answer = Answer()
    answer.append("café 🚲", 2)
    answer.append("!", 1)
    answer.confirm(6)
    assert answer.pending(9) == Piece(6, "!", 1)


def test_a_character_cut_in_two_is_put_together() -> None:
    answer = Answer()
    answer.append("bike \ud83d", 1)
    assert answer.text == "bike "
    answer.append("\udeb2!", 1)
    assert answer.text == "bike 🚲!"


@pytest.mark.parametrize(
    ("raw", "clean"), [("a\0b", "ab"), ("\ud800x", "\ufffdx"), ("\ud83d\udeb2", "🚲"), ("plain", "plain")]
)
def test_what_cannot_be_stored_is_replaced(raw: str, clean: str) -> None:
    assert sendable(raw) == clean


@given(ANY_TEXT)
def test_sendable_text_is_valid_utf8_without_nul(text: str) -> None:
    assert "\0" not in sendable(text).encode().decode()


@given(st.lists(ANY_TEXT, max_size=8), st.lists(st.tuples(st.integers(1, 6), st.integers(-1, 40)), max_size=30))
def test_whatever_is_lost_or_rewound_the_text_arrives_whole(parts: list[str], losses: list[tuple[int, int]]) -> None:
    """A receiver that loses pieces, forgets text and answers with its own length ends up with the whole answer."""
    answer, received, tokens = Answer(), "", 0
    for part in parts:
        answer.append(part, 1)
    for limit, forgotten in losses:
        piece = answer.pending(limit)
        if piece is None:
            break
        if piece.offset == len(received):
            received, tokens = received + piece.text, tokens + piece.tokens
        if forgotten >= 0:
            received = received[:forgotten]
        answer.confirm(len(received))
    while (piece := answer.pending(5)) is not None:
        assert piece.offset == len(received)
        received += piece.text
        answer.confirm(len(received))
    assert received == answer.text


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.integers(0, 3)), min_size=1), st.integers(1, 7))
def test_the_tokens_of_all_pieces_add_up(parts: list[tuple[str, int]], limit: int) -> None:
    answer, total = Answer(), 0
    for text, tokens in parts:
        answer.append(text.replace("\0", "0"), tokens)
    while (piece := answer.pending(limit)) is not None:
        total += piece.tokens
        answer.confirm(piece.offset + len(piece.text))
    assert total == answer.tokens == sum(tokens for _, tokens in parts)
