"""Defects of the first system's miner, each by its number in the list of them: none may come back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gpu_miner.config import load_settings
from gpu_miner.errors import ConfigError
from gpu_miner.tests.fake_platform import FakePlatform

ROOT = Path(__file__).parents[2]


def test_m36_a_running_miner_listens_on_no_port(platform: FakePlatform, tmp_path: Path) -> None:
    script = json.dumps({"acts": []})
    command = [sys.executable, "-m", "gpu_miner", "--url", platform.url, "--name", "m1", "--engine", "scripted"]
    process = subprocess.Popen(
        [*command, "--script", script, "--state-dir", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        platform.wait(lambda: any("job" in path for path, _body, _headers in platform.seen), timeout_s=20)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        open_sockets = [socket for member in family for socket in member.net_connections("inet")]
        assert open_sockets, "it is connected to the platform"
        assert not [socket for socket in open_sockets if socket.status == psutil.CONN_LISTEN or not socket.raddr]
    finally:
        process.terminate()
        process.wait(15)


@pytest.mark.parametrize("url", ["http://mia.example", "http://192.0.2.7:8000", "http://127.0.0.1.evil.example"])
def test_m37_keys_and_words_are_not_sent_in_the_clear(url: str) -> None:
    with pytest.raises(ConfigError, match="unencrypted"):
        load_settings(["--url", url, "--name", "m1"], {})
