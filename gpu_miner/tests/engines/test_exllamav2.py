"""The seat of the ExLlamaV2 engine."""

from pathlib import Path

import pytest

from gpu_miner.config import ENGINES, Settings
from gpu_miner.engines import create_engine
from gpu_miner.errors import EngineUnavailable


def test_its_seat_says_what_to_do_instead() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        create_engine(Settings("https://mia.example", "m", engine="exllamav2"))
    assert "not part of this build yet" in str(caught.value)
    assert "requirements-cuda.txt" in str(caught.value)
    assert "--engine openai" in str(caught.value)
    assert caught.value.exit_code == 3


def test_its_requirements_are_listed_where_it_says() -> None:
    folder = Path(__file__).parents[2]
    assert "exllamav2==" in (folder / "requirements-cuda.txt").read_text()
    assert "requirements-cuda.txt" in (folder / "requirements.txt").read_text()


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "exllamav2"])
def test_every_other_engine_can_be_made(name: str) -> None:
    settings = Settings("https://mia.example", "m", engine=name, openai_url="http://127.0.0.1:9/v1", slots=7)
    assert create_engine(settings).slots == 7
