"""The fence holds against miners that die, come late, forge and repeat; without its guards the same run breaks it."""

import pytest

from miners.tests.fence_simulator import Simulator, Statements, violations

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_is_lost_doubled_or_forged() -> None:
    simulator = Simulator(Statements(), seed=1)
    simulator.run(seconds=7)
    assert simulator.failures == []
    assert violations(simulator) == {}, simulator.counts
    happened = simulator.counts
    assert happened["submitted"] > 150
    for fault in ("died before the ack", "died while answering", "faulted", "declined", "vanished before the reply"):
        assert happened[fault] > 0, happened
    assert happened["accepted: late"] > 0, "a late answer is taken when nobody else was given the job"
    assert happened["refused: late"] > 0, "a late answer is refused when somebody else was"
    assert happened["refused: forged"] > 0
    assert happened["repeat: again"] > 0


def test_without_the_guards_the_same_miners_break_the_invariants() -> None:
    simulator = Simulator(Statements().without_guards(), seed=1)
    simulator.run(seconds=3)
    broken = violations(simulator)
    assert broken.get("forged and accepted", 0) > 0, simulator.counts
    assert broken.get("credit for another's answer", 0) + broken.get("completed without credit", 0) > 0, broken
