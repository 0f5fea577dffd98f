"""Facts about a model, from its folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.errors import EngineUnavailable


def folder(path: Path, **files: Any) -> ModelFolder:
    for name, content in {"config": {}, **files}.items():
        (path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return ModelFolder(str(path))


@pytest.mark.parametrize(
    ("config", "generation", "ids"),
    [
        ({"eos_token_id": 5}, {}, [5]),
        ({"eos_token_id": 5}, {"eos_token_id": [5, 6]}, [5, 6]),
        ({"text_config": {"eos_token_id": [7]}}, {}, [7]),
        ({}, {"eos_token_id": None}, []),
    ],
)
def test_every_token_that_ends_an_answer_is_known(tmp_path: Path, config: Any, generation: Any, ids: list[int]) -> None:
    assert folder(tmp_path, config=config, generation_config=generation).eos_ids == ids


def test_the_makers_wishes_for_sampling(tmp_path: Path) -> None:
    wishes = {"temperature": 0.7, "top_k": 20, "pad_token_id": 1}
    assert folder(tmp_path, generation_config=wishes).sampling_defaults == {"temperature": 0.7, "top_k": 20}
    assert folder(tmp_path, generation_config={"do_sample": False}).sampling_defaults == {"temperature": 0.0}


def test_the_kind_of_weights_is_named(tmp_path: Path) -> None:
    assert folder(tmp_path).quantization == ""
    quant = {"quantization_config": {"quant_method": "exl2", "bits": 4.0}}
    assert folder(tmp_path, config=quant).quantization == "exl2-4bit"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in ("", str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(EngineUnavailable):
            ModelFolder(path)
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        _ = folder(tmp_path, config="{broken").config
