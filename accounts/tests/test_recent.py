"""Answers that stay good for a few seconds."""

import itertools
import threading

import pytest

from accounts.recent import RecentAnswers


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_question_is_asked_once_within_the_lifetime() -> None:
    clock, answers = Clock(), itertools.count()
    recent: RecentAnswers[int] = RecentAnswers(5.0, 10, clock)
    assert recent.get("a", lambda: next(answers)) == 0
    clock.now += 4.9
    assert recent.get("a", lambda: next(answers)) == 0
    clock.now += 0.1
    assert recent.get("a", lambda: next(answers)) == 1


def test_the_age_counts_from_before_the_question_was_asked() -> None:
    clock = Clock()
    recent: RecentAnswers[str] = RecentAnswers(5.0, 10, clock)

    def slow() -> str:
        clock.now += 5.0
        return "old"

    assert recent.get("a", slow) == "old"
    assert recent.get("a", lambda: "new") == "new"


def test_none_is_an_answer_like_any_other() -> None:
    answers = iter([None, "late"])
    recent: RecentAnswers[str | None] = RecentAnswers(5.0, 10, Clock())
    assert recent.get("a", lambda: next(answers)) is None
    assert recent.get("a", lambda: next(answers)) is None


def test_the_oldest_answers_give_way() -> None:
    recent: RecentAnswers[int] = RecentAnswers(5.0, 3, Clock())
    for number in range(10):
        recent.get(number, lambda number=number: number)
    assert len(recent) == 3
    assert recent.get(9, lambda: -1) == 9
    assert recent.get(0, lambda: -1) == -1


def test_an_error_is_not_remembered() -> None:
    recent: RecentAnswers[int] = RecentAnswers(5.0, 3, Clock())
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 // 0)
    assert recent.get("a", lambda: 7) == 7


def test_threads_may_ask_at_once() -> None:
    recent: RecentAnswers[int] = RecentAnswers(5.0, 50)
    wrong: list[int] = []

    def ask() -> None:
        for number in range(300):
            if recent.get(number % 60, lambda number=number: number % 60) != number % 60:
                wrong.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert wrong == []
    assert len(recent) <= 50
