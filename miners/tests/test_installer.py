"""The installer as it is served: this platform's address in it, nothing of anybody else's, and the code it names."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.test import Client

from mia import env
from miners import installer

ROOT = installer.SOURCE.parent
SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]


def script(**more: str) -> str:
    response = Client(headers={"host": "mia.example", **more.pop("headers", {})}).get("/install.sh", **more)  # type: ignore[arg-type, call-overload]
    assert response.status_code == 200
    return str(response.content.decode())


@pytest.fixture(autouse=True)
def hosts(settings: object) -> None:
    settings.ALLOWED_HOSTS = ["mia.example", ".mia.example"]  # type: ignore[attr-defined]


def dry_run(text: str, shell: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}
    command = ["busybox", "sh"] if shell == "busybox" else [shell]
    full = [*command, "-s", "--", "--dry-run", "--no-service", "--dir", str(home / "mia"), *arguments]
    python = ["--python", shutil.which("python") or "python3"]
    return subprocess.run(
        [*full, *python], input=text, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_script_knows_the_host_it_came_from() -> None:
    assert "\nPLATFORM=http://mia.example\n" in script()


def test_the_public_address_wins(settings: object) -> None:
    settings.PUBLIC_URL = "https://gpu.mia.example/"  # type: ignore[attr-defined]
    assert "\nPLATFORM=https://gpu.mia.example\n" in script()


@pytest.mark.parametrize(
    "host", ["evil.example", "mia.example';reboot;'", "mia.example$(id)", "mia.example\nX=1", "a b"]
)
def test_a_host_that_is_not_ours_gets_no_script(host: str) -> None:
    response = Client(headers={"host": host}).get("/install.sh")
    assert response.status_code == 400
    assert "PLATFORM" not in response.content.decode()


def test_nothing_could_be_said_to_the_shell_even_so() -> None:
    assert "\nPLATFORM='https://x/'\"'\"';reboot;'\"'\"''\n" in installer.install_script("https://x/';reboot;'")


@pytest.mark.parametrize(
    "value", ["mia.example", "https://mia.example/a b", "https://x';id;'", "ftp://x", "https://x/y"]
)
def test_a_public_address_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PUBLIC_URL", value)
    with pytest.raises(env.ImproperlyConfigured):
        env.address("PUBLIC_URL")


def test_no_cache_keeps_the_script_for_another_host() -> None:
    response = Client(headers={"host": "mia.example"}).get("/install.sh")
    assert response["Cache-Control"] == "no-store"
    assert "Host" in response["Vary"]
    assert Client(headers={"host": "mia.example"}).post("/install.sh").status_code == 405


def test_the_archive_is_the_one_that_the_script_expects() -> None:
    response = Client(headers={"host": "mia.example"}).get("/miner.tar.gz")
    digest = hashlib.sha256(response.content).hexdigest()
    assert f"\nARCHIVE_SHA256={digest}\n" in script()
    again = Client(headers={"host": "mia.example", "if-none-match": response["ETag"]}).get("/miner.tar.gz")
    assert again.status_code == 304


def test_the_archive_holds_the_miner_and_no_tests() -> None:
    with tarfile.open(fileobj=io.BytesIO(installer.archive().content)) as tar:
        names = tar.getnames()
        assert all(entry.isfile() and entry.mtime == 0 for entry in tar.getmembers())
    assert {"gpu_miner/__main__.py", "gpu_miner/requirements.txt", "gpu_miner/commands/run.py"} <= set(names)
    tracked = subprocess.run(["git", "ls-files", "gpu_miner"], cwd=ROOT, capture_output=True, text=True, check=False)
    shipped = {name for name in tracked.stdout.split() if "/tests/" not in name and not name.endswith("pytest.ini")}
    assert shipped <= set(names)
    assert not [name for name in names if "tests" in name or not name.startswith("gpu_miner/") or ".." in name]


def test_the_archive_is_the_same_in_every_process() -> None:
    first = installer.archive().sha256
    installer.archive.cache_clear()
    assert installer.archive().sha256 == first


@pytest.mark.parametrize("shell", SHELLS)
def test_a_dry_run_says_all_and_does_nothing(shell: str, tmp_path: Path) -> None:
    done = dry_run(script(), shell, tmp_path, "--name", "gpu-1", "--set", "hours=22:00-08:00")
    assert done.returncode == 0, done.stderr
    for words in ("would: fetch http://mia.example/miner.tar.gz", "would: write", "miner.toml", "would: start"):
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "there is no option"),
        (["--set", "slots"], "wants KEY=VALUE"),
        (["--set", "Sl ots=4"], "no name of a setting"),
        (["--name", "a\nurl=x"], "line breaks"),
        (["--dir", "/tmp/x;id"], "has characters other than"),
        (["--token"], "needs a value"),
        (["--uninstall"], "holds no miner of this installer"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_happens(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = dry_run(script(), "sh", tmp_path, *arguments)
    assert done.returncode == 1
    assert words in done.stderr


class Archive(BaseHTTPRequestHandler):
    """A platform that serves the miner's code and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(installer.archive().content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def install(tmp_path: Path, address: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Installs into a home of its own, beside a systemd that only writes down what it is told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "loginctl"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/told"\n')
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}

    def run(*options: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = ["sh", "-s", "--", "--dir", str(tmp_path / "mia"), "--use-python", sys.executable, *options]
        script = text or installer.install_script(address)
        return subprocess.run(
            command, input=script, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


Install = Callable[..., subprocess.CompletedProcess[str]]


def test_systemd_is_given_a_unit_and_it_is_taken_back(install: Install, tmp_path: Path) -> None:
    done = install("--no-start", "--name", 'my "best" card', "--set", "max-power=250")
    assert done.returncode == 0, done.stderr
    unit = tmp_path / ".config" / "systemd" / "user" / "mia-miner.service"
    assert f"ExecStart={tmp_path}/mia/mia-miner run\n" in unit.read_text()
    assert "systemctl --user enable --quiet mia-miner.service" in (tmp_path / "told").read_text()
    toml = tomllib.loads((tmp_path / "mia" / "miner.toml").read_text())
    assert (toml["name"], toml["max-power"]) == ('my "best" card', "250")
    assert install("--uninstall").returncode == 0
    assert "systemctl --user disable --now --quiet mia-miner.service" in (tmp_path / "told").read_text()
    assert not unit.exists()
    assert not (tmp_path / "mia").exists()


def test_an_update_keeps_settings_and_key(install: Install, tmp_path: Path) -> None:
    install("--no-start", "--name", "first")
    (tmp_path / "mia" / "state").mkdir()
    (tmp_path / "mia" / "app" / "gpu_miner" / "stale.py").touch()
    done = install("--no-start")
    assert "is kept" in done.stdout
    assert tomllib.loads((tmp_path / "mia" / "miner.toml").read_text())["name"] == "first"
    assert (tmp_path / "mia" / "state").exists()
    assert not (tmp_path / "mia" / "app" / "gpu_miner" / "stale.py").exists()


def test_an_altered_archive_is_not_installed(install: Install, tmp_path: Path, address: str) -> None:
    script = installer.install_script(address).replace(installer.archive().sha256, "0" * 64)
    done = install("--no-start", text=script)
    assert done.returncode == 1
    assert "does not have its checksum" in done.stderr
    assert not (tmp_path / "mia" / "app").exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "install.sh").write_text(script())
    for path in (tmp_path / "install.sh", installer.SOURCE / "install.sh"):
        checked = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout
