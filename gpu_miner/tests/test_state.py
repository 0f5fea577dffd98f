"""The key file."""

from pathlib import Path

import pytest

from gpu_miner.errors import ConfigError
from gpu_miner.state import Identity, KeyFile

ME = Identity("https://mia.example", "gpu 1", "17", "mia_mk_secret")


def key_file(folder: Path, url: str = ME.url, name: str = ME.name) -> KeyFile:
    file = KeyFile(folder, url, name)
    file.hold()
    return file


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    assert file.load() is None
    file.save(ME)
    assert file.load() == ME


def test_the_file_is_0600_whatever_the_umask(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.save(ME)
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_an_open_file_is_closed_to_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = key_file(tmp_path)
    file.save(ME)
    file.path.chmod(0o644)
    assert file.load() == ME
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert "was open to others" in caplog.text


def test_saving_leaves_no_draft_behind(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.save(ME)
    file.save(ME)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".lock"]


def test_a_draft_of_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.path.with_suffix(".new").write_text('{"half')
    file.save(ME)
    assert file.load() == ME


def test_two_miners_cannot_share_a_key(tmp_path: Path) -> None:
    first = key_file(tmp_path)
    with pytest.raises(ConfigError, match="another miner already runs"):
        KeyFile(tmp_path, ME.url, ME.name).hold()
    first.release()


def test_a_released_key_can_be_held_again(tmp_path: Path) -> None:
    first = key_file(tmp_path)
    first.release()
    key_file(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"miner_id": "1"}', '{"miner_id": 1, "auth_key": null}'])
def test_a_broken_file_is_named_and_not_overwritten(tmp_path: Path, text: str) -> None:
    file = key_file(tmp_path)
    file.path.write_text(text)
    with pytest.raises(ConfigError, match="move it away to register anew"):
        file.load()
    assert file.path.read_text() == text


def test_each_platform_and_name_has_its_own_file(tmp_path: Path) -> None:
    paths = {
        KeyFile(tmp_path, url, name).path for url in ("https://a", "https://b") for name in ("x", "y", "x/..", "é")
    }
    assert len(paths) == 8
    assert all(path.parent == tmp_path for path in paths)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        KeyFile(tmp_path / "file" / "state", ME.url, ME.name).hold()
