"""What the GPUs of this machine are and how busy, by nvidia-ml-py or nvidia-smi; nothing where there is none."""

import hashlib
import importlib
import logging
import shutil
import subprocess
from collections.abc import Callable
from threading import Event, Lock
from types import ModuleType

from gpu_miner.protocol import GpuCard, GpuLoad

logger = logging.getLogger(__name__)

SMI_TIMEOUT_S = 10
SAMPLE_EVERY_S = 10.0
MEBIBYTE = 1024 * 1024

# Memory used and there, utilization, temperature, watts of one GPU.
Reading = tuple[int, int, int, int, int]


def find_gpus() -> list[GpuCard]:
    nvml = _nvml()
    return _nvml_cards(nvml) if nvml else _smi_cards()


def current_load() -> GpuLoad | None:
    """Memory and power of all GPUs together, the busiest one's utilization, the hottest one's temperature."""
    nvml = _nvml()
    rows = _nvml_loads(nvml) if nvml else _smi_loads()
    if not rows:
        return None
    used, total, utilization, temperature, power = zip(*rows, strict=True)
    load: GpuLoad = {"memory_used_mb": sum(used), "utilization": max(utilization), "temperature": max(temperature)}
    if sum(total):
        load["memory_total_mb"] = sum(total)
    if sum(power):
        load["power_w"] = sum(power)
    return load


class LoadSampler:
    """Keeps a recent GpuLoad from a thread of its own: a stuck driver must never hold up a heartbeat."""

    def __init__(self, read: Callable[[], GpuLoad | None] = current_load, every_s: float = SAMPLE_EVERY_S) -> None:
        self._read = read
        self._every_s = every_s
        self._lock = Lock()
        self._load: GpuLoad | None = None

    @property
    def load(self) -> GpuLoad | None:
        with self._lock:
            return self._load

    def run(self, stopping: Event) -> None:
        while not stopping.is_set():
            load = self._read()
            with self._lock:
                self._load = load
            stopping.wait(self._every_s)


def _nvml() -> ModuleType | None:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _nvml_handles(nvml: ModuleType) -> list[object]:
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]


def _nvml_cards(nvml: ModuleType) -> list[GpuCard]:
    driver = _as_str(nvml.nvmlSystemGetDriverVersion())
    return [_nvml_card(nvml, handle, driver) for handle in _nvml_handles(nvml)]


def _nvml_card(nvml: ModuleType, handle: object, driver: str) -> GpuCard:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "name": _as_str(nvml.nvmlDeviceGetName(handle)),
        "vram_mb": int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // MEBIBYTE,
        "driver": driver,
        "compute_capability": f"{major}.{minor}",
        "uuid_hash": _hashed(_as_str(nvml.nvmlDeviceGetUUID(handle))),
    }


def _nvml_loads(nvml: ModuleType) -> list[Reading]:
    try:
        return [_nvml_load(nvml, handle) for handle in _nvml_handles(nvml)]
    except nvml.NVMLError as error:
        logger.warning("the GPU load cannot be read: %s", error)
        return []


def _nvml_load(nvml: ModuleType, handle: object) -> Reading:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return (
        int(memory.used) // MEBIBYTE,
        int(memory.total) // MEBIBYTE,
        int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        _nvml_watts(nvml, handle),
    )


def _nvml_watts(nvml: ModuleType, handle: object) -> int:
    """0 where a card does not measure its power."""
    try:
        return int(nvml.nvmlDeviceGetPowerUsage(handle)) // 1000
    except nvml.NVMLError:
        return 0


def _smi_cards() -> list[GpuCard]:
    rows = _smi("name,memory.total,driver_version,compute_cap,uuid")
    return [
        {
            "name": name,
            "vram_mb": _whole(memory),
            "driver": driver,
            "compute_capability": capability,
            "uuid_hash": _hashed(uuid),
        }
        for name, memory, driver, capability, uuid in rows
    ]


def _smi_loads() -> list[Reading]:
    rows = _smi("memory.used,memory.total,utilization.gpu,temperature.gpu,power.draw")
    return [
        (_whole(used), _whole(total), _whole(utilization), _whole(temperature), _whole(power))
        for used, total, utilization, temperature, power in rows
    ]


def _smi(columns: str) -> list[list[str]]:
    """Rows of an nvidia-smi query, each with as many cells as columns asked for."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={columns}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi does not work here: %s", error)
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [row for row in rows if len(row) == columns.count(",") + 1]


def _whole(cell: str) -> int:
    """A cell as a number; what a card does not report is "[N/A]" and counts as 0."""
    whole = cell.partition(".")[0]
    return int(whole) if whole.isdigit() else 0


def _hashed(uuid: str) -> str:
    return hashlib.sha256(uuid.encode()).hexdigest()[:16]


def _as_str(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
