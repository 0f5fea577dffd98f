"""Everything about speed on one GPU: builds the extensions, makes the weights, measures, and prints one table.

usage: python -m benchmarks.gpu.run [--work FOLDER] [--out FOLDER] [--only exllamav2 exllamav3 transformers]
                                    [--batches 1 8 32 64] [--minutes 14]

Needs a machine with CUDA, nvcc and the packages of gpu_miner/requirements-cuda.txt, requirements-exllamav3.txt and
requirements-transformers.txt. Each measurement is a process of its own, so that none finds memory taken by another;
what fails or runs out of time is missing from the table and named under it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.roofline import card_named, tokens_per_s
from benchmarks.gpu.synthesise import SHAPES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "exllamav2", "exllamav3", "transformers", "flash_attn")
# In the order of what matters most, should the time run out.
PLAN = (
    ("bare", "exllamav2", "gptq"),
    ("generate", "transformers", "fp16"),
    ("miner", "exllamav2", "gptq"),
    ("bare", "exllamav2", "exl2"),
    ("bare", "transformers", "fp16"),
    ("bare", "exllamav3", "exl3"),
    ("miner", "exllamav3", "exl3"),
    ("miner", "transformers", "fp16"),
    ("bare", "exllamav2", "fp16"),
)
# `generate` needs as long for 64 answers as for 8 and is no batching server; these two are the baseline.
GENERATE_BATCHES = (1, 8)
CONTEXT = 512 + 128


@dataclass
class Session:
    """One run: where it works, until when, and what it has found."""

    work: Path
    out: Path
    batches: Sequence[int]
    until: float
    found: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def left_s(self) -> float:
        return self.until - time.monotonic()

    def call(self, name: str, *arguments: str) -> str:
        """The output of one module, or nothing when it failed; what went wrong goes under the table."""
        print(f"--- {name}: {' '.join(arguments)} ({self.left_s():.0f} s left)", flush=True)
        if self.left_s() < 10:
            self.missing.append(f"{name}: no time was left")
            return ""
        command = [sys.executable, *arguments]
        try:
            run = subprocess.run(
                command,
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
                timeout=self.left_s(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            self.missing.append(f"{name}: the time ran out")
            return (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else ""
        print(run.stdout[-2000:], flush=True)
        if run.returncode:
            self.missing.append(f"{name}: ended with status {run.returncode}")
        return run.stdout


def environment() -> dict[str, str]:
    """What the extensions need to compile: this GPU's architecture alone, and headers that torch's wheels bring."""
    given = dict(os.environ, PYTHONUNBUFFERED="1", HF_HUB_OFFLINE="1", PYTHONPATH=str(ROOT))
    given.setdefault("MAX_JOBS", str(os.cpu_count() or 4))
    given.setdefault("TORCH_CUDA_ARCH_LIST", architecture())
    home = Path(given.get("CUDA_HOME", "/usr/local/cuda"))
    if not (home / "include/cublas_v2.h").exists():
        found = [str(path.parent) for path in Path(sys.prefix).glob("lib/python*/site-packages/nvidia/**/cublas_v2.h")]
        if found:
            given["CPATH"] = os.pathsep.join([found[0], *filter(None, [given.get("CPATH")])])
    return given


def architecture() -> str:
    asked = ask_driver("compute_cap")
    return asked or "9.0"


def ask_driver(what: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""


def build(session: Session, engines: Sequence[str]) -> "subprocess.Popen[bytes] | None":
    """ExLlamaV2's extension first and alone; ExLlamaV3's, four times as large, goes on while others are measured."""
    if "exllamav2" in engines:
        started = time.monotonic()
        session.call("the extension of exllamav2", "-c", "import exllamav2; print(exllamav2.__version__)")
        print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    if "exllamav3" not in engines:
        return None
    given = environment() | {"MAX_JOBS": str(max(1, (os.cpu_count() or 4) // 2))}
    return subprocess.Popen([sys.executable, "-c", "import exllamav3"], cwd=ROOT, env=given)


def measure(session: Session, engines: Sequence[str], builder: "subprocess.Popen[bytes] | None") -> None:
    for how, engine, form in PLAN:
        if engine not in engines:
            continue
        if engine == "exllamav3" and builder is not None:
            wait_for(builder, session)
        folder = session.work / f"qwen2.5-7b-{form}"
        if not (folder / "config.json").exists():
            session.call(f"weights in {form}", "-m", "benchmarks.gpu.synthesise", form, str(folder))
        batches = [batch for batch in session.batches if how != "generate" or batch in GENERATE_BATCHES]
        sizes = ["--batches", *map(str, batches)]
        module = ("-m", "benchmarks.gpu.measure", how, engine, str(folder))
        output = session.call(f"{engine}, {form}, {how}", *module, *sizes)
        session.found += [
            json.loads(line) | {"form": form} for line in output.splitlines() if line.startswith('{"how"')
        ]
        (session.out / "gpu.json").write_text(json.dumps(session.found, indent=1))


def wait_for(builder: "subprocess.Popen[bytes]", session: Session) -> None:
    try:
        builder.wait(max(1, session.left_s()))
    except subprocess.TimeoutExpired:
        session.missing.append("exllamav3: its extension was not built in time")


def table(session: Session) -> str:
    """Markdown for docs/performance.md."""
    name = ask_driver("name")
    base = {row["batch"]: row["tokens_per_s"] for row in session.found if row["how"] == "generate"}
    alone = {
        (row["engine"], row["form"], row["how"]): row["tokens_per_s"] for row in session.found if row["batch"] == 1
    }
    bare = {key_of(row): row["tokens_per_s"] for row in session.found if row["how"] == "bare"}
    lines = [
        f"{name}, driver {ask_driver('driver_version')}, {datetime.now(UTC):%Y-%m-%d}, {versions()}.",
        "Weights of Qwen2.5-7B's shape made on the spot: the speed is real, the words are not. Prompts of 512 tokens,",
        "answers of 256, sampled; the median of three runs.",
        "",
        "| engine | weights | measured | jobs | tokens/s | × generate | × one job | of bare | first s | roofline |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in session.found:
        cells = [
            row["engine"],
            row["form"],
            row["how"],
            str(row["batch"]),
            f"{row['tokens_per_s']:.0f}",
            ratio(row["tokens_per_s"], base.get(row["batch"])),
            ratio(row["tokens_per_s"], alone.get((row["engine"], row["form"], row["how"]))),
            ratio(row["tokens_per_s"], bare.get(key_of(row))) if row["how"] == "miner" else "",
            f"{row['first_s']:.2f}" if "first_s" in row else "",
            roof(name, row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *[f"Missing: {words}." for words in session.missing]])


def key_of(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["engine"], row["form"], row["batch"]


def ratio(value: float, base: float | None) -> str:
    return f"{value / base:.2f}" if base else ""


def roof(name: str, row: dict[str, Any]) -> str:
    card = card_named(name)
    return f"{tokens_per_s(card, SHAPES['7b'], row['form'], row['batch'], CONTEXT):.0f}" if card else ""


def versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/mia-gpu"))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--only", nargs="+", default=["exllamav2", "exllamav3", "transformers"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--minutes", type=float, default=14.0)
    options = parser.parse_args()
    if not ask_driver("name"):
        raise SystemExit("This needs an NVIDIA GPU, and nvidia-smi finds none here: nothing was measured.")
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + options.minutes * 60
    session = Session(options.work, options.out, options.batches, until)
    builder = build(session, options.only)
    measure(session, options.only, builder)
    text = table(session)
    (options.out / "gpu-table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
