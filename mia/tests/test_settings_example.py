"""`.env.example` names every setting that is read, and compose.yaml sets none that is not."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / ".env.example"
FOR_COMPOSE = {"POSTGRES_PASSWORD", "MIA_DATABASE_PASSWORD", "HTTP_PORT"}


@pytest.fixture(scope="module")
def declared() -> dict[str, str]:
    """What the settings ask the environment for in production, with the defaults."""
    script = "import json, mia.settings; from mia import env; print(json.dumps(env.declared))"
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 50, "APP_ENV": "production"}
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    names: dict[str, str] = json.loads(finished.stdout)
    return names


def example() -> dict[str, str]:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_example_names_exactly_the_settings_that_are_read(declared: dict[str, str]) -> None:
    assert sorted(example()) == sorted(declared)


def test_example_shows_the_defaults_of_production(declared: dict[str, str]) -> None:
    assert {name: value for name, value in example().items() if value != declared[name]} == {}


def test_each_setting_has_a_comment_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    bare = [line for above, line in pairwise(lines) if "=" in line and line[0] != "#" and above[:1] != "#"]
    assert bare == []


def test_compose_sets_and_asks_for_known_settings_only(declared: dict[str, str]) -> None:
    text = (ROOT / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert {*services["web"]["environment"]} <= {*declared}
    assert {*re.findall(r"\$\{(\w+)", text)} <= {*declared} | FOR_COMPOSE


def test_compose_runs_every_process_of_the_platform() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert {*services} == {"proxy", "web", "worker", "dispatcher", "migrate", "postgres", "redis"}
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["web"]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_image_runs_as_an_ordinary_user() -> None:
    assert "\nUSER 10001\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("path", ["railway.json", "deploy/railway.worker.json", "deploy/railway.dispatcher.json"])
def test_railway_starts_commands_that_exist(path: str) -> None:
    command = json.loads((ROOT / path).read_text())["deploy"]["startCommand"].split()
    assert command[:2] == ["python", "manage.py"]
    assert command[2] in {"web", "rqworker", "dispatcher"}
