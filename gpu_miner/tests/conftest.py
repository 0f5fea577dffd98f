"""Fixtures: a fake platform, and miners that run against it in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.backoff import Patience
from gpu_miner.config import Settings
from gpu_miner.engines.base import Engine
from gpu_miner.engines.scripted import Act, Script, ScriptedEngine
from gpu_miner.supervisor import Supervisor
from gpu_miner.tests.fake_platform import FakePlatform

QUICK = Patience(
    backoff_first_s=0.05,
    backoff_cap_s=0.2,
    result_waits_s=(0.05,) * 11,
    retry_after_cap_s=1.0,
    ack_retry_s=0.1,
    busy_heartbeat_s=0.1,
    status_tick_s=0.05,
    hung_after_s=0.3,
    final_flush_s=1.0,
)

MinerStarter = Callable[..., Supervisor]


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    server = FakePlatform()
    yield server
    server.close()


@pytest.fixture
def start_miner(platform: FakePlatform, tmp_path: Path) -> Iterator[MinerStarter]:
    """Starts miners on the fake platform; those still running at the end are stopped."""
    running: list[Supervisor] = []

    def start(*acts: Act, engine: Engine | None = None, patience: Patience = QUICK, **changes: Any) -> Supervisor:
        given = {"url": platform.url, "name": "m1", "engine": "scripted", "slots": 2, "state_dir": tmp_path / "state"}
        settings = Settings(**{**given, **changes})
        chosen = engine or ScriptedEngine(Script(acts), slots=settings.slots)
        supervisor = Supervisor(settings, chosen, patience, find=list)
        running.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in running:
        supervisor.stop()
    for supervisor in running:
        supervisor.wait(3)
