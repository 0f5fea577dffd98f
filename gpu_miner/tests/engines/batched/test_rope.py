"""Position settings for ExLlamaV2."""

import json
from pathlib import Path

import pytest

from gpu_miner.engines.batched.rope import folder_with_old_names, with_old_names
from gpu_miner.errors import EngineUnavailable


def test_the_new_spelling_is_also_written_in_the_old() -> None:
    config = with_old_names({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})
    assert config["rope_theta"] == 1e6
    assert "rope_scaling" not in config


def test_a_scaling_comes_along_with_its_numbers() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6}
    config = with_old_names({"rope_parameters": yarn})
    assert config["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert config["original_max_position_embeddings"] == 32768


def test_the_old_spelling_stays_as_it_is() -> None:
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}
    assert with_old_names(old) == old


def test_the_text_part_of_a_larger_model_is_read_too() -> None:
    config = with_old_names({"text_config": {"rope_parameters": {"rope_theta": 1e6}}})
    assert config["text_config"]["rope_theta"] == 1e6


def test_layers_of_two_kinds() -> None:
    full, sliding = {"rope_theta": 1e6}, {"rope_theta": 10_000.0}
    config = with_old_names({"rope_parameters": {"full_attention": full, "sliding_attention": sliding}})
    assert config["rope_theta"] == 1e6
    with pytest.raises(EngineUnavailable):
        with_old_names({"rope_parameters": {"full_attention": full, "sliding_attention": {"rope_theta": 5e4}}})


@pytest.mark.parametrize(
    "config",
    [
        {"rope_parameters": {"rope_type": "default"}},
        {"rope_parameters": {"rope_theta": "much"}},
        {"rope_parameters": {"rope_theta": 1e6, "rope_type": "dynamic"}},
        {"rope_theta": 1e6, "rope_scaling": {"type": "unheard of"}},
    ],
)
def test_positions_that_would_be_computed_wrongly_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(EngineUnavailable):
        with_old_names(config)


def test_the_models_own_folder_stays_untouched(tmp_path: Path) -> None:
    source, target = tmp_path / "model", tmp_path / "overlay"
    source.mkdir(), target.mkdir()
    (source / "config.json").write_text(json.dumps({"rope_parameters": {"rope_theta": 1e6}}))
    (source / "model.safetensors").write_bytes(b"weights")
    folder_with_old_names(source, target)
    assert json.loads((target / "config.json").read_text())["rope_theta"] == 1e6
    assert (target / "model.safetensors").read_bytes() == b"weights"
    assert "rope_theta" not in json.loads((source / "config.json").read_text())
