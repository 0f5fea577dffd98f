"""GPUs, as nvidia-smi and nvidia-ml-py report them."""

import sys
from pathlib import Path
from threading import Event
from types import ModuleType, SimpleNamespace

import pytest

from gpu_miner.hardware import LoadSampler, current_load, find_gpus


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty PATH and no pynvml: a machine without a GPU."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    return tmp_path


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_machine_without_a_gpu_reports_none() -> None:
    assert find_gpus() == []
    assert current_load() is None


def test_nvidia_smi_tells_the_cards(no_driver: Path) -> None:
    cards = ["NVIDIA GeForce RTX 3090, 24576, 570.86.10, 8.6, GPU-1234", "NVIDIA T4, 15360, 570.86.10, 7.5, GPU-5"]
    nvidia_smi(no_driver, "; ".join(f'echo "{card}"' for card in cards))
    first, second = find_gpus()
    assert (first["name"], first["vram_mb"], first["compute_capability"]) == ("NVIDIA GeForce RTX 3090", 24576, "8.6")
    assert second["name"] == "NVIDIA T4"
    assert "GPU-1234" not in str(first)
    assert len(first["uuid_hash"]) == 16


def test_the_load_adds_memory_and_takes_the_busiest(no_driver: Path) -> None:
    nvidia_smi(no_driver, 'echo "1000, 8192, 90, 71, 219.50"; echo "500, 8192, 10, [N/A], [N/A]"')
    assert current_load() == {
        "memory_used_mb": 1500,
        "memory_total_mb": 16384,
        "utilization": 90,
        "temperature": 71,
        "power_w": 219,
    }


@pytest.mark.parametrize("script", ["exit 9", 'echo "NVIDIA-SMI has failed"', "true"])
def test_a_broken_driver_is_no_gpu(no_driver: Path, script: str) -> None:
    nvidia_smi(no_driver, script)
    assert find_gpus() == []
    assert current_load() is None


class FakeNvmlError(Exception):
    """What pynvml raises."""


def fake_nvml(*, works: bool) -> ModuleType:
    def init() -> None:
        if not works:
            raise FakeNvmlError

    module = ModuleType("pynvml")
    functions = {
        "NVMLError": FakeNvmlError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": init,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: b"NVIDIA H200",
        "nvmlDeviceGetUUID": lambda handle: "GPU-9",
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=150754820096, used=1073741824),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=55),
        "nvmlDeviceGetTemperature": lambda handle, sensor: 48,
        "nvmlDeviceGetPowerUsage": lambda handle: 350_900,
    }
    module.__dict__.update(functions)
    return module


def test_nvidia_ml_py_is_asked_first(monkeypatch: pytest.MonkeyPatch, no_driver: Path) -> None:
    nvidia_smi(no_driver, 'echo "not asked"; exit 1')
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(works=True))
    (card,) = find_gpus()
    assert (card["name"], card["vram_mb"], card["compute_capability"]) == ("NVIDIA H200", 143771, "9.0")
    load = current_load()
    assert load is not None
    assert (load["memory_used_mb"], load["utilization"], load["temperature"]) == (1024, 55, 48)
    assert (load["memory_total_mb"], load["power_w"]) == (143771, 350)


def test_a_card_that_does_not_measure_its_power_has_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(handle: object) -> None:
        raise FakeNvmlError("not supported")

    module = fake_nvml(works=True)
    module.__dict__["nvmlDeviceGetPowerUsage"] = unsupported
    monkeypatch.setitem(sys.modules, "pynvml", module)
    load = current_load()
    assert load is not None
    assert "power_w" not in load


def test_nvidia_ml_py_without_a_driver_falls_back(monkeypatch: pytest.MonkeyPatch, no_driver: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(works=False))
    assert find_gpus() == []


def test_a_card_that_falls_off_the_bus_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(handle: object) -> None:
        raise FakeNvmlError("GPU is lost")

    module = fake_nvml(works=True)
    module.__dict__["nvmlDeviceGetUtilizationRates"] = lost
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert current_load() is None


def test_the_sampler_keeps_the_latest_load() -> None:
    stopping = Event()
    loads = iter([{"memory_used_mb": 1, "utilization": 2, "temperature": 3}])

    def read() -> dict[str, int]:
        stopping.set()
        return next(loads)

    sampler = LoadSampler(read, every_s=0)  # type: ignore[arg-type]
    assert sampler.load is None
    sampler.run(stopping)
    assert sampler.load == {"memory_used_mb": 1, "utilization": 2, "temperature": 3}
