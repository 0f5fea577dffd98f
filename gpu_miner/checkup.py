"""Everything a miner needs, looked at one by one; each finding says what to do."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from time import monotonic

from gpu_miner.benchmark import try_out
from gpu_miner.catalogue import GIBIBYTE
from gpu_miner.client import PlatformClient
from gpu_miner.config import MODEL_ENGINES, Settings
from gpu_miner.engines import create_engine
from gpu_miner.errors import EngineError, MinerError, PlatformError, Refused, Unavailable
from gpu_miner.hardware import find_gpus
from gpu_miner.hub import folder_is_complete
from gpu_miner.model_choice import chosen, with_model
from gpu_miner.packages import how_to_install, missing_package, require_packages
from gpu_miner.protocol import GpuCard, as_int, as_text
from gpu_miner.state import KeyFile
from gpu_miner.status_file import is_held

TOKENS = 8
LEAST_DRIVER = 570  # CUDA 12.8, which the pinned wheels are built for.
LEAST_FREE_BYTES = 2 * GIBIBYTE
SKEW_NOTED_S = 5.0
# Beyond this certificates and signed tokens begin to be refused.
SKEW_FATAL_S = 300.0
TORCH_TIMEOUT_S = 120
TORCH_PROBE = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"


class Level(IntEnum):
    """How bad a finding is."""

    OK = 0
    WARNING = 1
    FAILURE = 2

    @property
    def verdict(self) -> str:
        return ("All is well.", "It will work; see the warnings.", "It will not work yet; see the failures.")[self]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    words: str
    advice: str = ""

    def __str__(self) -> str:
        mark = {Level.OK: "OK", Level.WARNING: "warning", Level.FAILURE: "failure"}[self.level]
        advice = f"\n{'':18}→ {self.advice}" if self.advice else ""
        return f"{mark:<8}{self.subject:<10}{self.words}{advice}"


class Checkup:
    """One look at one machine with one set of settings."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._gpus = find_gpus()
        self._key_file = KeyFile(settings.state_dir, settings.url, settings.name)
        self._client = PlatformClient(settings.url, lambda config: None)

    def findings(self) -> Iterator[Finding]:
        """In the order in which one thing needs the other; the slow ones come last."""
        yield self._driver()
        if self._settings.engine in MODEL_ENGINES:
            yield from self._packages()
        yield self._disk()
        yield from self._network()
        yield self._key()
        yield from self._generation()

    def _driver(self) -> Finding:
        needs_gpu = self._settings.engine in ("exllamav2", "exllamav3")
        if not self._gpus:
            words = "no NVIDIA GPU is found"
            if needs_gpu:
                return Finding(
                    Level.FAILURE, "driver", words, "install NVIDIA's driver until nvidia-smi shows the card"
                )
            return Finding(Level.OK, "driver", f"{words}; the {self._settings.engine} engine needs none here")
        words = ", ".join(_card_words(gpu) for gpu in self._gpus)
        driver = self._gpus[0].get("driver", "")
        if needs_gpu and as_int(_major(driver), 0) < LEAST_DRIVER:
            advice = f"update the driver to {LEAST_DRIVER} or newer; the pinned packages are built for CUDA 12.8"
            return Finding(Level.FAILURE, "driver", f"{words}, driver {driver}", advice)
        return Finding(Level.OK, "driver", f"{words}, driver {driver}")

    def _packages(self) -> Iterator[Finding]:
        engine = self._settings.engine
        missing = missing_package(engine)
        if missing:
            yield Finding(Level.FAILURE, "packages", f"{missing} is not installed", how_to_install(engine))
            return
        yield self._cuda(needed=engine != "transformers" or self._settings.device.startswith("cuda"))

    def _cuda(self, *, needed: bool) -> Finding:
        """PyTorch is asked in a process of its own: a broken installation can take its process down."""
        try:
            probe = [sys.executable, "-c", TORCH_PROBE]
            done = subprocess.run(probe, capture_output=True, text=True, timeout=TORCH_TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return Finding(Level.FAILURE, "CUDA", f"PyTorch does not start: {error}", "install the requirements again")
        version, cuda, works = done.stdout.split()
        if works == "True":
            return Finding(Level.OK, "CUDA", f"PyTorch {version} with CUDA {cuda}")
        if needed:
            advice = "the driver is too old for this PyTorch, or PyTorch was installed without CUDA"
            return Finding(Level.FAILURE, "CUDA", f"PyTorch {version} sees no GPU (CUDA {cuda})", advice)
        return Finding(Level.OK, "CUDA", f"PyTorch {version}, on the processor")

    def _disk(self) -> Finding:
        folder, needed = self._settings.models_dir, LEAST_FREE_BYTES
        if self._settings.engine in MODEL_ENGINES and not Path(self._settings.model or "-").is_dir():
            try:
                model = chosen(self._settings, self._gpus)
            except MinerError as error:
                return Finding(Level.FAILURE, "disk", str(error))
            if not folder_is_complete(folder / model.folder):
                needed += int(model.disk_gb * 1e9)
        free = shutil.disk_usage(_nearest(folder)).free
        words = f"{free / GIBIBYTE:.0f} GB free in {folder}"
        if free < needed:
            advice = f"{needed / GIBIBYTE:.0f} GB are needed: make room, or set --models-dir to a larger disk"
            return Finding(Level.FAILURE, "disk", words, advice)
        return Finding(Level.OK, "disk", words)

    def _network(self) -> Iterator[Finding]:
        asked_at = monotonic()
        try:
            self._client.health()
        except Unavailable as error:
            yield Finding(Level.WARNING, "network", f"the platform is there but busy: {error}", "the miner will wait")
            return
        except PlatformError as error:
            advice = "check --url, this machine's connection, and firewalls that hold back outgoing HTTPS"
            yield Finding(Level.FAILURE, "network", f"{self._settings.url}: {error}", advice)
            return
        took_ms = (monotonic() - asked_at) * 1000
        level = Level.WARNING if took_ms > 1000 else Level.OK
        advice = "customers will feel this delay" if level else ""
        yield Finding(level, "network", f"{self._settings.url} answers in {took_ms:.0f} ms", advice)
        yield _clock(self._client.platforms_time(), datetime.now(UTC))

    def _key(self) -> Finding:
        try:
            identity = self._key_file.load()
        except MinerError as error:
            return Finding(Level.FAILURE, "key", str(error))
        if identity is None and self._settings.enrolment_token:
            return Finding(Level.OK, "key", "none yet; the enrolment token will be used at the first start")
        if identity is None:
            words = f"this machine has no key for the name {self._settings.name}, and there is no enrolment token"
            advice = "ask the platform for a token and set MIA_ENROLMENT_TOKEN (open platforms need none)"
            return Finding(Level.WARNING, "key", words, advice)
        self._client.use_key(identity.auth_key)
        try:
            figures = self._client.own_figures()
        except Refused as error:
            advice = f"move {self._key_file.path} away and register with a new token"
            return Finding(Level.FAILURE, "key", f"the platform does not accept it: {error}", advice)
        except PlatformError as error:
            return Finding(Level.WARNING, "key", f"could not be tried: {error}")
        words = f"registered as {identity.name}, {as_text(figures.get('trust'))}"
        return Finding(Level.OK, "key", f"{words}, {as_int(figures.get('job_count'), 0)} jobs done")

    def _generation(self) -> Iterator[Finding]:
        if self._settings.engine in MODEL_ENGINES and is_held(self._key_file.path.with_suffix(".lock")):
            yield Finding(Level.OK, "answer", "a miner runs here already and holds the GPU's memory; see `status`")
            return
        try:
            require_packages(self._settings.engine)
            yield self._try_engine(with_model(self._settings, self._gpus, self._environ))
        except EngineError as error:
            yield Finding(Level.FAILURE, "answer", f"the engine failed: {error.code}: {error}")
        except MinerError as error:
            yield Finding(Level.FAILURE, "answer", str(error))

    def _try_engine(self, settings: Settings) -> Finding:
        engine = create_engine(settings)
        try:
            model = engine.models()[0]
            trial = try_out(engine, "Doctor", TOKENS)
        finally:
            engine.close()
        speed = f"{trial.tokens} tokens in {trial.total_s:.1f} s"
        if not trial.text.strip():
            return Finding(Level.FAILURE, "answer", f"{model['id']} wrote nothing ({speed})", "try another model")
        return Finding(Level.OK, "answer", f"{model['id']} wrote {speed}: “{' '.join(trial.text.split())[:60]}”")


def _clock(told: str, now: datetime) -> Finding:
    try:
        skew_s = (now - datetime.fromisoformat(told)).total_seconds()
    except (ValueError, TypeError):
        return Finding(Level.WARNING, "clock", "the platform does not tell the time")
    if abs(skew_s) <= SKEW_NOTED_S:
        return Finding(Level.OK, "clock", "agrees with the platform's")
    level = Level.FAILURE if abs(skew_s) > SKEW_FATAL_S else Level.WARNING
    side = "ahead of" if skew_s > 0 else "behind"
    advice = "turn on time synchronisation (timedatectl set-ntp true); --hours follow this clock"
    return Finding(level, "clock", f"{abs(skew_s):.0f} s {side} the platform's", advice)


def _card_words(gpu: GpuCard) -> str:
    return f"{gpu['name']} ({gpu['vram_mb'] / 1024:.0f} GB)"


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0


def _nearest(folder: Path) -> Path:
    """The folder, or what of its path is there already."""
    return next(path for path in (folder, *folder.parents) if path.exists())
