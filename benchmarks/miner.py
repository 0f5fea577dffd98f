"""The miner alone: what is lost between its engine and the platform, with an engine that steps like a clock.

usage: python -m benchmarks.miner [--jobs 1 8 32] [--step-ms 8] [--tokens 512] [--rounds 2]

A real platform, and a real miner process whose engine process writes one token per job and step. Delivered tokens a
second, as the platform counts them, stand beside those of the same generator in a bare loop with the same jobs. Then
the time until the first word, until a cancelled job stops writing, and what becomes of the jobs of a killed engine.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.dispatch import quantile
from benchmarks.platform import ROOT, Platform, cpu_seconds, running_platform
from gpu_miner.config import Settings
from gpu_miner.engines.base import Cancelled, EngineJob, Finish, Stream
from gpu_miner.engines.batched.batch import Batch
from gpu_miner.engines.batched.engine import BatchedEngine
from gpu_miner.engines.batched.generator import GeneratorOptions
from gpu_miner.engines.batched.scripted import load_scripted
from gpu_miner.supervisor import Supervisor

# What the issue of this miner promised.
TARGETS = {1: 0.97, 8: 0.95, 32: 0.92}
FIRST_WORDS = 60
CANCELLED_JOBS = 32
KILLED_JOBS = 32


def options_of(slots: int, step_ms: float, tokens: int) -> GeneratorOptions:
    script = json.dumps({"step_ms": step_ms, "tokens": tokens, "cache_tokens": 1_000_000})
    return GeneratorOptions("scripted", slots=slots, script=script, max_context=8192, max_output=2048)


def bare_tokens_per_s(jobs: int, rounds: int, step_ms: float, tokens: int) -> float:
    """The generator in a loop of its own; whenever a job ends the next begins."""
    options = options_of(jobs, step_ms, tokens)
    batch = Batch(load_scripted(options, lambda what, share: None), max_output=2048, defaults={})
    waiting = [EngineJob(str(number), ({"role": "user", "content": "Go on."},), params={"max_tokens": tokens})
               for number in range(jobs * rounds)]  # fmt: skip
    for job in waiting[:jobs]:
        batch.add(job.job_id, job)
    waiting, written, started = waiting[jobs:], 0, time.monotonic()
    while not batch.is_idle:
        news = batch.step()
        written += len(news.step)
        for _ in news.ends:
            if waiting:
                job = waiting.pop()
                batch.add(job.job_id, job)
    return written / (time.monotonic() - started)


class ReportingEngine(BatchedEngine):
    """Says on standard output when a cancelled job stopped writing."""

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        try:
            return super().run(job, stream)
        except Cancelled:
            sys.stdout.write(json.dumps({"cancelled": job.job_id, "at": time.time()}) + "\n")
            sys.stdout.flush()
            raise


def serve(url: str, token: str, name: str, state: str, slots: int, step_ms: float, tokens: int) -> None:
    """The miner process."""
    settings = Settings(url, name, engine="scripted", slots=slots, enrolment_token=token, state_dir=Path(state))
    engine = ReportingEngine(options_of(slots, step_ms, tokens))
    supervisor = Supervisor(settings, engine, find=list)
    supervisor.start()
    while engine.pid is None or supervisor.miner.state != "online":
        time.sleep(0.01)
    sys.stdout.write(json.dumps({"engine": engine.pid}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    supervisor.stop()
    supervisor.wait(5)


@dataclass
class MinerProcess:
    """A running miner, as the measurements see it."""

    process: "subprocess.Popen[str]"
    engine_pid: int = 0
    cancelled_at: dict[str, float] = field(default_factory=dict)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            news = json.loads(line)
            if "cancelled" in news:
                self.cancelled_at[news["cancelled"]] = news["at"]
            else:
                self.engine_pid = news["engine"]


@contextlib.contextmanager
def running_miner(platform: Platform, token: str, slots: int, step_ms: float, tokens: int) -> Iterator[MinerProcess]:
    with tempfile.TemporaryDirectory() as state:
        url, name = f"http://{platform.host}:{platform.port}", f"bench-{time.time()}"
        arguments = ["serve", url, token, name, state, str(slots), str(step_ms), str(tokens)]
        command = [sys.executable, "-m", "benchmarks.miner", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        miner = MinerProcess(process)
        threading.Thread(target=miner.listen, daemon=True).start()
        while not miner.engine_pid:
            assert process.poll() is None
            time.sleep(0.02)
        try:
            yield miner
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


@dataclass(frozen=True)
class Network:
    """The platform's own services, for a business that asks."""

    business_id: int

    def ask(self, tokens: int) -> Any:
        from django.utils import timezone

        from miners.choices import JobKind, Lane
        from miners.services import JobRequest, submit_job

        request = JobRequest(
            kind=JobKind.CHAT,
            lane=Lane.CHAT,
            messages=[{"role": "user", "content": "Go on."}],
            params={"max_tokens": tokens},
            max_tokens=tokens,
        )
        return submit_job(business_id=self.business_id, request=request, now=timezone.now())

    def read(self, jobs: Sequence[Any]) -> list[Any]:
        from accounts.tenancy import platform_scope
        from miners.models import Job

        with platform_scope():
            return list(Job.objects.filter(pk__in=[job.pk for job in jobs]))

    def wait(self, jobs: Sequence[Any], states: set[str], timeout_s: float = 60) -> list[Any]:
        """The jobs once all of them are in one of the states, or when the time is up."""
        until = time.monotonic() + timeout_s
        while True:
            rows = self.read(jobs)
            if all(row.state in states for row in rows) or time.monotonic() > until:
                return rows
            time.sleep(0.1)

    def cancel(self, job: Any) -> None:
        from django.utils import timezone

        from miners.services import cancel_job

        cancel_job(job=self.read([job])[0], now=timezone.now())


ENDED = {"completed", "failed", "cancelled", "expired"}


def measure_delivery(platform: Platform, network: Network, token: str, jobs: int, options: argparse.Namespace) -> bool:
    """One line of the table; whether it reached its target."""
    bare = bare_tokens_per_s(jobs, options.rounds, options.step_ms, options.tokens)
    with running_miner(platform, token, jobs, options.step_ms, options.tokens) as miner:
        network.wait([network.ask(4)], ENDED)
        cpu = cpu_seconds(miner.process.pid)
        asked = [network.ask(options.tokens) for _ in range(jobs * options.rounds)]
        rows = network.wait(asked, ENDED)
        cpu = cpu_seconds(miner.process.pid) - cpu
    done = [row for row in rows if row.state == "completed"]
    # The first waits for the last to be asked; no miner could have begun on that one sooner.
    seconds = (max(row.finished_at for row in done) - min(row.created_at for row in done)).total_seconds()
    delivered = len(done) * options.tokens
    ratio = delivered / seconds / bare
    print(
        f"{jobs:4d} {len(done):6d}/{len(rows):<4d} {bare:9.0f} {delivered / seconds:9.0f} {ratio:8.3f}"
        f" {TARGETS.get(jobs, 0):7.2f} {cpu / max(delivered, 1) * 1e6:12.1f}",
        flush=True,
    )
    return ratio >= TARGETS.get(jobs, 0) and len(done) == len(rows)


def measure_first_words(platform: Platform, network: Network, token: str, step_ms: float) -> None:
    """Jobs at random moments on an idle miner; what the engine itself needs, one step, does not count."""
    with running_miner(platform, token, 8, step_ms, 20) as miner:
        network.wait([network.ask(4)], ENDED)
        asked = []
        for _ in range(FIRST_WORDS):
            asked.append(network.ask(20))
            time.sleep(random.uniform(0.05, 0.2))
        rows = network.wait(asked, ENDED)
        assert miner.process.poll() is None
    waits = [
        (row.first_token_at - row.created_at).total_seconds() * 1000 - step_ms for row in rows if row.first_token_at
    ]
    print(
        f"first word, beyond the engine's own step: p50 {quantile(waits, 0.5):.0f} ms (≤ 30),"
        f" p95 {quantile(waits, 0.95):.0f} ms (≤ 80), of {len(waits)} jobs",
        flush=True,
    )


def measure_cancels(platform: Platform, network: Network, token: str, step_ms: float) -> None:
    with running_miner(platform, token, CANCELLED_JOBS, step_ms, 2000) as miner:
        asked = [network.ask(2000) for _ in range(CANCELLED_JOBS)]
        network.wait(asked, {"running"})
        time.sleep(0.5)
        cancelled = {}
        for job in asked:
            cancelled[str(job.pk)] = time.time()
            network.cancel(job)
            time.sleep(random.uniform(0.02, 0.08))
        time.sleep(2)
    names = {str(job.pk): str(getattr(job, "public_id", job.pk)) for job in asked}
    waits = [
        (miner.cancelled_at[names[key]] - at) * 1000
        for key, at in cancelled.items()
        if names[key] in miner.cancelled_at
    ]
    print(
        f"a cancelled job stops writing: p50 {quantile(waits, 0.5):.0f} ms, p95 {quantile(waits, 0.95):.0f} ms (≤ 150),"
        f" {len(waits)} of {len(cancelled)} heard",
        flush=True,
    )


def measure_a_killed_engine(platform: Platform, network: Network, token: str, step_ms: float) -> None:
    """Two miners share the jobs; the engine of one is killed in the middle."""
    half = KILLED_JOBS // 2
    with (
        running_miner(platform, token, half, step_ms, 250) as first,
        running_miner(platform, token, half, step_ms, 250),
    ):
        asked = [network.ask(250) for _ in range(KILLED_JOBS)]
        network.wait(asked, {"running"}, 10)
        time.sleep(0.5)
        os.kill(first.engine_pid, signal.SIGKILL)
        killed_at = time.monotonic()
        rows = network.wait(asked, ENDED, 40)
    done = sum(row.state == "completed" for row in rows)
    print(
        f"an engine killed with {half} jobs in hand: {done} of {len(rows)} answered, {len(rows) - done} lost,"
        f" the last {time.monotonic() - killed_at:.1f} s after the kill",
        flush=True,
    )


def measure(options: argparse.Namespace) -> bool:
    from benchmarks.dispatch import prepare

    with running_platform() as platform:
        from miners.choices import Trust
        from miners.services import create_enrolment_token

        _, _, business_id = prepare(0)
        _, token = create_enrolment_token(name="miners", trust=Trust.TRUSTED, max_uses=100)
        network = Network(business_id)
        print("jobs   answered      bare delivered    ratio  target  µs CPU/token", flush=True)
        reached = [measure_delivery(platform, network, token, jobs, options) for jobs in options.jobs]
        measure_first_words(platform, network, token, options.step_ms)
        measure_cancels(platform, network, token, options.step_ms)
        measure_a_killed_engine(platform, network, token, options.step_ms)
        return all(reached)


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        url, token, name, state, slots, step_ms, tokens = sys.argv[2:]
        serve(url, token, name, state, int(slots), float(step_ms), int(tokens))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--step-ms", type=float, default=8.0)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    raise SystemExit(0 if measure(parser.parse_args()) else 1)


if __name__ == "__main__":
    main()
