"""The lists of packages for each engine."""

from pathlib import Path

import pytest

packaging = pytest.importorskip("packaging.requirements", reason="needs the package packaging")

FOLDER = Path(__file__).parents[3]
LISTS = sorted(FOLDER.glob("requirements-*.txt"))
# Enough of a GPU owner's machine to evaluate the markers.
MACHINE = {"sys_platform": "linux", "platform_machine": "x86_64"}


def wanted(path: Path, python: str) -> list[str]:
    lines = [line.strip() for line in path.read_text().splitlines()]
    parsed = [packaging.Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    machine = {**MACHINE, "python_version": python, "python_full_version": f"{python}.0"}
    return [one.name for one in parsed if one.marker is None or one.marker.evaluate(machine)]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_package_is_pinned(path: Path) -> None:
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "-r")):
            one = packaging.Requirement(line.strip())
            assert one.url or [spec.operator for spec in one.specifier] == ["=="]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_each_python_gets_each_package_once(path: Path, python: str) -> None:
    names = wanted(path, python)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_exllamav2_is_there_for_each_python(python: str) -> None:
    assert "exllamav2" in wanted(FOLDER / "requirements-cuda.txt", python)
