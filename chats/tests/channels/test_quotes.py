"""What is new in a mail, and mails that were written to hurt."""

from __future__ import annotations

import pytest

from chats.channels.mail import read_mail
from chats.channels.quotes import new_words

NEW = "Yes please, two of them.\n\nAna"


@pytest.mark.parametrize(
    "old",
    [
        "On Mon, Nov 30, 2026 at 10:00 AM Shop <help@shop.example> wrote:\n> Shall we?",
        "Am 30.11.2026 um 10:00 schrieb Shop\n<help@shop.example>:\n> Sollen wir?",
        "Le lun. 30 nov. 2026 à 10:00, Shop <help@shop.example> a écrit :\n> On y va ?",
        "-----Original Message-----\nShall we?",
        "From: Shop <help@shop.example>\nSent: Monday\nShall we?",
        "________________________________\nShall we?",
        "-- \nAna Keller, 12 Long Road",
        "Sent from my phone",
        "> Shall we?",
    ],
)
def test_what_it_answers_and_the_signature_are_left_out(old: str) -> None:
    assert new_words(f"{NEW}\n\n{old}\n") == NEW


def test_words_that_only_look_like_it_stay() -> None:
    text = "On Monday I wrote to you.\nFrom: Basel to Zurich, how long?\nIt costs 5 - 6 francs."
    assert new_words(text) == text


def test_a_mail_that_is_all_quotation_is_not_lost() -> None:
    assert new_words("On Monday Ana wrote:\nWhere is it?") == "On Monday Ana wrote:\nWhere is it?"


@pytest.mark.parametrize("piece", ["On x wrote ", "Am 1. schrieb ", "\n", "> ", "From: a\nTo: b\n", "_", "On\n"])
def test_hostile_lengths_are_read_at_once(piece: str) -> None:
    new_words(piece * (5_000_000 // len(piece)))


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@[\r\nMessage-ID: <[\r\n\r\nx",
        b"From: a@b.c\r\nContent-Type: ;;;\r\nContent-Disposition: ;filename*=x''%%\r\n\r\nx",
        b'From: (((((\r\nContent-Type: multipart/mixed; boundary="\r\n\r\n',
        b"",
    ],
)
def test_a_mail_that_nobody_can_read_is_put_aside(raw: bytes) -> None:
    incoming = read_mail(raw, 7, "help@shop.example")
    assert (incoming.cursor, bool(incoming.ignored or incoming.address)) == (7, True)
