"""The ExLlama engines held to the real packages, on machines where neither can run."""

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.tests.engines.batched.runtimes import HAS_TORCH
from gpu_miner.tests.engines.batched.tiny_model import make_tiny_model

HOW = "pip install --no-deps -r gpu_miner/tests/requirements-signatures.txt"
needs_exllamav2 = pytest.mark.skipif(
    not HAS_TORCH or find_spec("exllamav2") is None, reason=f"exllamav2 is not installed: {HOW}"
)
needs_exllamav3 = pytest.mark.skipif(find_spec("exllamav3") is None, reason=f"exllamav3 is not installed: {HOW}")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process for all of these tests: the package takes seconds to import."""
    folder = make_tiny_model(tmp_path_factory.mktemp("model"))
    script = Path(__file__).with_name("exllamav2_stubbed.py")
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", "import sys, runpy; sys.path.insert(0, '.'); runpy.run_path(sys.argv.pop(1))"]
    run = subprocess.run([*command, str(script), str(folder)], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


@needs_exllamav2
class TestExLlamaV2:
    """Our calls against exllamav2 as it is on PyPI, its CUDA extension stubbed."""

    def test_our_attention_stands_in_for_flash_attn(self, seen: dict[str, Any]) -> None:
        assert (seen["stands_in"], seen["pages"], seen["window"]) == (True, True, True)
        assert not seen["softcap"]

    def test_it_is_the_version_this_code_was_written_for(self, seen: dict[str, Any]) -> None:
        assert seen["version"] == "0.3.2"

    def test_positions_of_a_config_by_transformers_5_are_read_rightly(self, seen: dict[str, Any]) -> None:
        assert seen["theta"] == 1e6

    def test_the_model_is_laid_out_as_asked(self, seen: dict[str, Any]) -> None:
        assert seen["architecture"] == "Qwen2ForCausalLM"
        assert (seen["context"], seen["input"], seen["no_flash"]) == (1024, 512, False)
        assert (seen["slots"], seen["chunk"]) == (16, 512)

    def test_an_architecture_it_does_not_know_is_refused_instead_of_loaded_as_llama(self, seen: dict[str, Any]) -> None:
        assert "does not know" in seen["unknown"]

    def test_a_job_carries_all_its_sampling(self, seen: dict[str, Any]) -> None:
        identifier, limit, stop_tokens, stop_strings = seen["job"]
        assert (identifier, limit, len(stop_tokens), stop_strings) == ("key", 9, 2, ["END"])
        assert seen["prompt"] == [[1, 2, 3]]
        assert seen["settings"] == [0.5, 0.9, 3, 0.1, 0.3]
        assert seen["greedy"] == [1, 1.0]

    def test_the_packages_own_repetition_penalty_is_off(self, seen: dict[str, Any]) -> None:
        assert seen["repetition"] == 1.0

    def test_the_generator_still_has_what_we_call(self, seen: dict[str, Any]) -> None:
        assert seen["missing"] == []

    @pytest.mark.skipif(find_spec("llguidance") is None, reason=f"llguidance is not installed: {HOW}")
    def test_json_can_only_begin_as_json(self, seen: dict[str, Any]) -> None:
        assert set(seen["first"]) <= {"{", " ", "\n", "\r", "\t"}
        assert "{" in seen["first"]
        assert seen["then_closing"]
        assert not seen["then_end"]


OURS = Path(__file__).parents[3] / "engines/batched/exllamav3.py"
# Where exllamav3 has what we call, and what must be there for it.
V3_CALLS = {
    "Job": ("generator/job.py", "Job", "__init__"),
    "Generator": ("generator/generator.py", "Generator", "__init__"),
    "Cache": ("cache/cache.py", "Cache", "__init__"),
    "ComboSampler": ("generator/sampler/presets.py", "ComboSampler", "__init__"),
    "LLGuidanceFilter": ("generator/filter/llguidance.py", "LLGuidanceFilter", "__init__"),
    "load": ("model/model.py", "Model", "load_gen"),
}


@needs_exllamav3
@pytest.mark.parametrize("name", V3_CALLS)
def test_exllamav3_takes_every_name_we_pass(name: str) -> None:
    """Read from both sources, because the package cannot be imported without Triton."""
    file, owner, function = V3_CALLS[name]
    taken = parameters(package_folder() / file, owner, function)
    passed = keywords(OURS, name)
    assert passed
    assert passed <= taken


@needs_exllamav3
def test_exllamav3_still_has_the_methods_we_call() -> None:
    tree = ast.parse((package_folder() / "generator/generator.py").read_text())
    methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {"enqueue", "cancel", "iterate", "clear_queue"} <= methods
    layers = parameters(package_folder() / "cache/quant.py", "CacheLayer_quant", "__init__")
    assert {"k_bits", "v_bits"} <= layers


def package_folder() -> Path:
    spec = find_spec("exllamav3")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def parameters(path: Path, owner: str, function: str) -> set[str]:
    classes = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == owner
    ]
    found = next(node for node in classes[0].body if isinstance(node, ast.FunctionDef) and node.name == function)
    return {argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)}


def keywords(path: Path, name: str) -> set[str]:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if name in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))]
    return {keyword.arg for call in named for keyword in call.keywords if keyword.arg}
