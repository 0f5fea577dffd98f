"""Waiting before trying again."""

from gpu_miner.backoff import Backoff, Patience, spread


def test_waits_are_random_below_a_ceiling_that_doubles_to_64_seconds() -> None:
    backoff = Backoff(Patience())
    ceilings = [1, 2, 4, 8, 16, 32, 64, 64, 64]
    waits = [backoff.next_wait() for _ in ceilings]
    assert all(0 < wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_two_miners_do_not_wait_alike() -> None:
    assert len({Backoff(Patience()).next_wait() for _ in range(20)}) > 10


def test_success_starts_over() -> None:
    backoff = Backoff(Patience())
    for _ in range(9):
        backoff.next_wait()
    backoff.reset()
    assert backoff.next_wait() <= 1


def test_retry_after_is_obeyed_within_reason() -> None:
    backoff = Backoff(Patience())
    assert 7 <= backoff.next_wait(7.0) <= 7.0 + 1
    assert backoff.next_wait(86_400.0) == 120


def test_spreading_takes_off_a_tenth_at_most() -> None:
    assert all(9 <= spread(10) <= 10 for _ in range(50))
