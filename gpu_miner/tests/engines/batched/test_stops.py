"""Stop strings over streamed text."""

import pytest

from gpu_miner.engines.batched.stops import StopStrings


def stream(text: str, *stops: str) -> tuple[str, bool]:
    watch = StopStrings(stops)
    shown = ""
    for char in text:
        shown += watch.feed(char)
        if watch.met:
            return shown, True
    return shown + watch.close(), False


@pytest.mark.parametrize(
    ("text", "stops", "shown", "met"),
    [
        ("all of it", (), "all of it", False),
        ("before STOP after", ("STOP",), "before ", True),
        ("before ST and no more", ("STOP",), "before ST and no more", False),
        ("ends in a half ST", ("STOP",), "ends in a half ST", False),
        ("aab", ("ab",), "a", True),
        ("one\n\nUser: two", ("\n\nUser:", "###"), "one", True),
        ("x### y", ("\n\nUser:", "###"), "x", True),
        ("🙂 stop here", ("stop",), "🙂 ", True),
    ],
)
def test_text_is_shown_up_to_the_first_stop(text: str, stops: tuple[str, ...], shown: str, met: bool) -> None:
    assert stream(text, *stops) == (shown, met)


def test_no_part_of_a_stop_is_ever_shown_before_it_is_resolved() -> None:
    watch = StopStrings(["</answer>"])
    assert watch.feed("yes</ans") == "yes"
    assert watch.feed("wer") == ""
    assert watch.feed("ing>") == "</answering>"


def test_of_two_stops_in_one_piece_the_first_in_the_text_counts() -> None:
    watch = StopStrings(["late", "early"])
    assert watch.feed("so early or late") == "so "
    assert watch.met
