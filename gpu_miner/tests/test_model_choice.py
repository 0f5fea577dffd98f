"""From a name, a folder or nothing to a model on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.catalogue import CATALOGUE, largest_that_fits, listing, named
from gpu_miner.config import Settings
from gpu_miner.digests import digest_of
from gpu_miner.errors import ConfigError, DownloadFailed, EngineUnavailable
from gpu_miner.model_choice import with_model
from gpu_miner.protocol import GpuCard
from gpu_miner.tests.fake_hub import FakeHub


def card(vram_mb: int) -> GpuCard:
    return {"name": "GPU", "vram_mb": vram_mb}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    server = FakeHub()
    yield server
    server.close()


def settings(folder: Path, **changes: Any) -> Settings:
    given = {"engine": "exllamav2", "state_dir": folder / "state", "models_dir": folder / "models", **changes}
    return Settings("https://mia.example", "m1", **given)


@pytest.mark.parametrize(
    ("vram_mb", "name"),
    [
        (8_192, "qwen2.5-7b-instruct"),
        (12_288, "qwen2.5-14b-instruct"),
        (24_564, "qwen2.5-32b-instruct"),
        (81_920, "qwen2.5-72b-instruct"),
    ],
)
def test_the_largest_model_that_fits_is_chosen(vram_mb: int, name: str) -> None:
    assert largest_that_fits(vram_mb, "exllamav2").name == name


def test_a_gpu_that_holds_none_is_told_what_to_do() -> None:
    with pytest.raises(ConfigError, match="name one with --model"):
        largest_that_fits(4_096, "exllamav2")


def test_models_of_one_engine_are_ordered_by_size() -> None:
    for backend in ("exllamav2", "transformers"):
        sizes = [model.vram_mb for model in CATALOGUE if model.backend == backend]
        assert sizes == sorted(sizes)
    assert all(model.name in listing() for model in CATALOGUE)


@pytest.mark.parametrize("name", ["../etc", "a/../b", "one-word", "a/b/c", "a/b@x/y", "-x/y z", ""])
def test_a_name_that_leads_nowhere_is_none(name: str) -> None:
    assert named(name) is None


def test_any_repository_can_be_named() -> None:
    model = named("owner/Some.Model@4.0bpw")
    assert model is not None
    assert (model.repository, model.revision, model.folder) == (
        "owner/Some.Model",
        "4.0bpw",
        "owner--Some.Model@4.0bpw",
    )


def test_a_named_model_is_downloaded_once_and_has_a_digest(hub: FakeHub, tmp_path: Path) -> None:
    wanted = settings(tmp_path, model="owner/model@4.0bpw", hub_url=hub.url)
    first = with_model(wanted, [], {})
    assert Path(first.model, "config.json").is_file()
    assert first.model_name == "model"
    assert first.model_digest.startswith("sha256:")
    asked = len(hub.requests)
    assert with_model(wanted, [], {}) == first
    assert len(hub.requests) == asked


def test_a_failed_download_starts_nothing(hub: FakeHub, tmp_path: Path) -> None:
    hub.served["model.safetensors"] = [b"short"] * 20
    with pytest.raises(DownloadFailed):
        with_model(settings(tmp_path, model="owner/model@4.0bpw", hub_url=hub.url), [], {})


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    chosen = with_model(settings(tmp_path, model=str(folder)), [], {})
    assert (chosen.model, chosen.model_name) == (str(folder), "my-model")


@pytest.mark.parametrize(("model", "words"), [("nowhere", "neither a folder"), ("", "no GPU is found")])
def test_a_model_that_cannot_be_chosen_is_explained(tmp_path: Path, model: str, words: str) -> None:
    with pytest.raises((ConfigError, EngineUnavailable), match=words):
        with_model(settings(tmp_path, model=model), [], {})


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model folder"):
        with_model(settings(tmp_path, model=str(tmp_path)), [], {})


def test_other_engines_have_no_model_to_choose(tmp_path: Path) -> None:
    plain = settings(tmp_path, engine="extractive")
    assert with_model(plain, [card(24_000)], {}) is plain


def test_a_digest_follows_the_files_and_nothing_else(tmp_path: Path) -> None:
    folder, cache = tmp_path / "m", tmp_path / "state" / "digests.json"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"one")
    before = digest_of(folder, cache)
    (folder / "notes.md").write_text("mine")
    assert digest_of(folder, cache) == before
    (folder / "a.safetensors").write_bytes(b"two")
    assert digest_of(folder, cache) != before


def test_a_digest_is_computed_once(tmp_path: Path) -> None:
    folder, cache = tmp_path / "m", tmp_path / "digests.json"
    folder.mkdir()
    weights = folder / "a.safetensors"
    weights.write_bytes(b"one")
    stamp = weights.stat()
    before = digest_of(folder, cache)
    weights.write_bytes(b"two")
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert digest_of(folder, cache) == before, "the file was read again though nothing said that it changed"
    cache.write_text("broken")
    assert digest_of(folder, cache) != before
