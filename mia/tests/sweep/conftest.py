"""The two businesses of the sweep, and a judge who watches their rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mia.tests.sweep.asgi import forget_everything
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.rows import watching
from mia.tests.sweep.world import World, make_world


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """What a process remembers of keys and bots must not outlive the test's database."""
    forget_everything()
    yield
    forget_everything()


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


@pytest.fixture
def judge(world: World) -> Iterator[Judge]:
    with watching(world) as watch:
        yield Judge(watch)
