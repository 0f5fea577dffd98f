"""Signals as things to wait for."""

import os
import signal
import threading
import time

from gpu_miner.interrupts import Interrupts


def test_signals_are_counted_and_not_acted_on() -> None:
    with Interrupts() as interrupts:
        assert interrupts.wait(0) == 0
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.wait(1) + interrupts.wait(0) == 2


def test_a_signal_ends_the_wait() -> None:
    with Interrupts() as interrupts:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        started_at = time.monotonic()
        assert interrupts.wait(5) == 1
        assert time.monotonic() - started_at < 2


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
