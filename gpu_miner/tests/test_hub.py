"""Downloading a model from a hub that does its worst."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_miner import hub as hub_module
from gpu_miner.catalogue import Model
from gpu_miner.errors import DownloadFailed
from gpu_miner.hub import Hub, folder_is_complete, token_for
from gpu_miner.progress import ProgressBar
from gpu_miner.tests.fake_hub import WEIGHTS, FakeHub

MODEL = Model("model", "owner/model", "4.0bpw")
MIB = 1024 * 1024


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    server = FakeHub()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


def download(hub: FakeHub, folder: Path, model: Model = MODEL) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    Hub(hub.url, wait_s=0).download(model, folder, lambda done, total: seen.append((done, total)))
    return seen


def failure(hub: FakeHub, folder: Path, model: Model = MODEL) -> str:
    with pytest.raises(DownloadFailed) as caught:
        download(hub, folder, model)
    assert not folder_is_complete(folder)
    return str(caught.value)


def test_a_model_arrives_whole_and_without_what_nobody_needs(hub: FakeHub, folder: Path) -> None:
    seen = download(hub, folder)
    assert sorted(path.name for path in folder.iterdir()) == [".complete", "config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert folder_is_complete(folder)
    assert seen[-1] == (seen[-1][1], len(WEIGHTS) + len(hub.files["config.json"]))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_cut_line_goes_on_where_it_was_cut(hub: FakeHub, folder: Path) -> None:
    hub.cut_after = [MIB, MIB // 2]
    download(hub, folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    first, second, third = hub.fetched("model.safetensors")
    assert first == ""
    assert 0 < int(second[6:-1]) <= MIB < int(third[6:-1]) <= MIB * 3 // 2


def test_a_second_start_goes_on_with_what_the_first_left(hub: FakeHub, folder: Path) -> None:
    folder.mkdir()
    (folder / "model.safetensors.part").write_bytes(WEIGHTS[:MIB])
    download(hub, folder)
    assert hub.fetched("model.safetensors") == [f"bytes={MIB}-"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    download(hub, folder)
    assert len(hub.fetched("model.safetensors")) == 1


def test_a_hub_without_ranges_sends_all_of_it_again(hub: FakeHub, folder: Path) -> None:
    hub.knows_ranges = False
    hub.cut_after = [MIB]
    download(hub, folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_line_that_brings_nothing_is_given_up(hub: FakeHub, folder: Path) -> None:
    hub.cut_after = [0] * 20
    assert "cannot be downloaded" in failure(hub, folder)
    assert len(hub.fetched("model.safetensors")) == hub_module.FRUITLESS_TRIES


def test_wrong_bytes_are_fetched_anew_once(hub: FakeHub, folder: Path) -> None:
    hub.served["model.safetensors"] = [b"x" * len(WEIGHTS)]
    download(hub, folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_bytes_that_stay_wrong_are_refused_and_not_kept(hub: FakeHub, folder: Path) -> None:
    hub.served["config.json"] = [b"{'model_type': 'qwen2'}"] * 2
    assert "checksum" in failure(hub, folder)
    assert not list(folder.glob("config.json*"))


@pytest.mark.parametrize(("size", "words"), [(MIB, "longer than"), (3 * MIB, "shorter than")])
def test_a_hub_that_lies_about_the_size_is_refused(hub: FakeHub, folder: Path, size: int, words: str) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    hub.listed["model.safetensors"] = {"lfs": {"oid": digest, "size": size}}
    assert words in failure(hub, folder)
    assert not list(folder.glob("model.safetensors*"))


@pytest.mark.parametrize("path", ["../evil.json", "/etc/passwd", "a/../../evil"])
def test_no_file_leaves_the_folder(hub: FakeHub, folder: Path, path: str) -> None:
    hub.listed["config.json"] = {"path": path}
    assert "outside the model's folder" in failure(hub, folder)


@pytest.mark.parametrize(
    ("listed", "words"),
    [({"oid": ""}, "no checksum"), ({"size": "huge"}, "does not say how large"), ({"type": "link"}, "")],
)
def test_a_listing_that_proves_nothing_is_refused(
    hub: FakeHub, folder: Path, listed: dict[str, object], words: str
) -> None:
    hub.listed["config.json"] = listed
    if words:
        assert words in failure(hub, folder)
    else:
        download(hub, folder)
        assert not (folder / "config.json").exists()


def test_a_repository_that_is_not_there_or_holds_no_weights_is_named(hub: FakeHub, folder: Path) -> None:
    assert "has no owner/other" in failure(hub, folder, Model("x", "owner/other", "main"))
    del hub.files["model.safetensors"]
    assert "no weights" in failure(hub, folder)


def test_too_small_a_disk_is_told_before_anything_is_fetched(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SPARE_BYTES", 10**18)
    assert "GB are free" in failure(hub, folder)
    assert hub.fetched("model.safetensors") == []


def test_the_operators_token_goes_to_its_own_hub_alone() -> None:
    environ = {"HF_TOKEN": "hf_secret"}
    assert token_for("https://huggingface.co", environ) == "hf_secret"
    assert token_for("https://huggingface.co.evil.example", environ) == ""
    assert token_for("https://mirror.example", environ) == ""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_stays_in_place_and_ends_full() -> None:
    out = Terminal()
    bar = ProgressBar("qwen", out)
    for done in range(0, 101, 25):
        bar.show(done * 10**7, 10**9)
    bar.close()
    last = out.getvalue().split("\r\x1b[K")[-1]
    assert "100%" in last
    assert "1.00 of 1.00 GB" in last
    assert "░" not in last


def test_a_log_gets_lines_now_and_then() -> None:
    out = io.StringIO()
    bar = ProgressBar("qwen", out)
    for done in range(101):
        bar.show(done, 100)
    bar.close()
    assert out.getvalue().count("\n") == 2
