"""What the miner has earned, as far as the platform tells."""

from threading import Event, Thread

import pytest

from gpu_miner.earnings import watch_earnings
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakePlatform, Fault


@pytest.mark.parametrize(("told", "shown"), [("1.25", 1.25), (None, None), ("much", None), ("nan", None)])
def test_the_line_shows_what_the_platform_tells(
    platform: FakePlatform, start_miner: MinerStarter, told: str | None, shown: float | None
) -> None:
    platform.set(earnings_usd=told)
    platform.fail("/miners/me", Fault(status=503))
    miner = start_miner().miner
    ended = Event()
    thread = Thread(target=watch_earnings, args=(miner, ended, 0.02, 0.0), daemon=True)
    thread.start()
    platform.wait(lambda: len(platform.headers("/miners/me")) > 3)
    ended.set()
    thread.join(5)
    assert miner.earned_usd == shown
