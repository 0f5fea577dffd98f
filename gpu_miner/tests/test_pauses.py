"""The limits of a machine's owner: hours, heat and power, each with a way back."""

from datetime import UTC, datetime

import pytest

from gpu_miner.config import Settings
from gpu_miner.pauses import Limit, OwnersLimits, Pause, Pauses
from gpu_miner.protocol import GpuLoad

NIGHT = datetime(2026, 1, 1, 23, tzinfo=UTC)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def limits(**changes: object) -> OwnersLimits:
    return OwnersLimits(Settings("https://mia.example", "m1", **changes))  # type: ignore[arg-type]


def load(temperature: int = 50, power_w: int = 100) -> GpuLoad:
    return {"memory_used_mb": 1, "utilization": 1, "temperature": temperature, "power_w": power_w}


def test_without_limits_nothing_pauses() -> None:
    assert not any(limits().judge(load(120, 9000), NOON).values())


def test_outside_its_hours_a_miner_pauses() -> None:
    nightly = limits(hours="22:00-08:00")
    assert nightly.judge(None, NOON)[Pause.HOURS]
    assert not nightly.judge(None, NIGHT)[Pause.HOURS]


def test_a_hot_card_works_again_once_it_is_well_below_the_limit() -> None:
    warm = limits(max_temperature=80)
    seen = [warm.judge(load(temperature), NOON, now)[Pause.HOT] for now, temperature in [
        (0, 80), (1, 81), (2, 79), (100, 76), (101, 75), (102, 80), (103, 81),
    ]]  # fmt: skip
    assert seen == [False, True, True, True, False, False, True]


def test_a_pause_lasts_a_minute_however_fast_the_card_cools() -> None:
    warm = limits(max_temperature=80)
    assert warm.judge(load(85), NOON, 0)[Pause.HOT]
    assert warm.judge(load(40), NOON, 59)[Pause.HOT]
    assert not warm.judge(load(40), NOON, 60)[Pause.HOT]


def test_a_peak_of_power_is_no_reason_but_a_plateau_is() -> None:
    frugal = limits(max_power=250)
    peaks = [frugal.judge(load(power_w=watts), NOON, now)[Pause.POWER] for now, watts in [(0, 300), (5, 200), (8, 300)]]
    assert peaks == [False, False, False]
    assert frugal.judge(load(power_w=300), NOON, 18)[Pause.POWER]
    assert not frugal.judge(load(power_w=60), NOON, 78)[Pause.POWER]


def test_a_card_that_cannot_be_read_is_no_reason() -> None:
    assert not any(limits(max_temperature=80, max_power=100).judge(None, NOON).values())


@pytest.mark.parametrize("value", [11.0, 10.5])
def test_between_the_two_marks_nothing_changes(value: float) -> None:
    limit = Limit(high=11, low=10, rest_s=0)
    assert not limit.judge(value, 0)
    assert limit.judge(12, 1)
    assert limit.judge(value, 2)


def test_reasons_add_up_and_go_one_by_one() -> None:
    pauses = Pauses()
    assert pauses.change(Pause.HOT, on=True)
    assert not pauses.change(Pause.HOT, on=True)
    pauses.change(Pause.HOURS, on=True)
    assert str(pauses) == "outside its hours, too hot"
    pauses.change(Pause.HOT, on=False)
    assert pauses
    pauses.change(Pause.HOURS, on=False)
    assert not pauses
