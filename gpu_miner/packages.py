"""Which packages an engine needs beside the miner's own, and whether they are installed here."""

from importlib.util import find_spec

from gpu_miner.errors import EngineUnavailable

PACKAGES = {"exllamav2": "exllamav2", "exllamav3": "exllamav3", "transformers": "transformers"}
REQUIREMENTS = {
    "exllamav2": "requirements-cuda.txt",
    "exllamav3": "requirements-exllamav3.txt",
    "transformers": "requirements-transformers.txt",
}


def missing_package(engine: str) -> str:
    """The package that the engine lacks here; '' when it lacks none."""
    name = PACKAGES.get(engine, "")
    return name if name and find_spec(name) is None else ""


def how_to_install(engine: str) -> str:
    return f"pip install -r gpu_miner/{REQUIREMENTS[engine]}"


def require_packages(engine: str) -> None:
    """Raises EngineUnavailable before gigabytes are downloaded for an engine that cannot start."""
    name = missing_package(engine)
    if name:
        raise EngineUnavailable(
            f"the {engine} engine needs {name}, which is not installed: {how_to_install(engine)}; or use a model "
            "server of your own: --engine openai --openai-url http://127.0.0.1:8000/v1"
        )
