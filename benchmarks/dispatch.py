"""Jobs through the whole cycle: POST /chat, claimed, streamed, handed in, visible.

usage: python -m benchmarks.dispatch [--miners 1 20 300] [--jobs 200] [--seconds 6]

For each number of parked miners: the time from submission to a miner's hands at a steady ten jobs a second, and then
as many cycles as sixteen visitors and those miners get through. Claims per job show whether wake-ups stampede.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.http import Connection
from benchmarks.platform import Platform, cpu_seconds, running_platform

VISITORS = 16
ARRIVALS_PER_S = 10


@dataclass
class Load:
    """What one measurement collects."""

    platform: Platform
    visitor_key: str
    miner_keys: Sequence[str]
    submitted_at: dict[str, float] = field(default_factory=dict)
    started_after_ms: list[float] = field(default_factory=list)
    received: dict[str, float] = field(default_factory=dict)
    finished: int = 0
    is_over: bool = False

    def connection(self, key: str) -> Connection:
        return Connection(self.platform.host, self.platform.port, key)


async def be_miner(load: Load, key: str) -> None:
    """Polls, streams one piece, hands in, polls again; the poll that finds the measurement over is the last."""
    async with load.connection(key) as connection:
        while not load.is_over:
            reply = (await connection.post("/job/claim", {"slots": 1, "wait": 20})).json()
            for job in reply.get("jobs", []):
                load.received[job["job_id"]] = time.monotonic()
                held = {"job_id": job["job_id"], "fence": job["fence"]}
                await connection.post(
                    "/job/chunks", {"jobs": [{**held, "offset": 0, "text": "All is well.", "tokens": 4}]}
                )
                await connection.post("/job/result", {**held, "output": "All is well.", "tokens_generated": 4})
                load.finished += 1


async def ask(load: Load, connection: Connection, number: int) -> str:
    asked_at = time.monotonic()
    reply = await connection.post("/chat", {"message": f"Is all well? {number}"})
    assert reply.status == 200, reply
    job_id = str(reply.json()["job_id"])
    load.submitted_at[job_id] = asked_at
    return job_id


async def measure_latency(load: Load, jobs: int) -> None:
    """Asks at a steady rate, whatever the answers do."""
    async with load.connection(load.visitor_key) as connection:
        due = time.monotonic()
        for number in range(jobs):
            await asyncio.sleep(max(due - time.monotonic(), 0))
            due += 1 / ARRIVALS_PER_S
            await ask(load, connection, number)
    await asyncio.sleep(1)


async def be_visitor(load: Load, until: float) -> None:
    """Asks, and reads the answer as soon as a miner has handed it in."""
    async with load.connection(load.visitor_key) as connection:
        number = 0
        while time.monotonic() < until:
            reply = await connection.post("/chat?wait=10", {"message": f"Is all well? {number}"})
            assert reply.json().get("status") == "completed", reply
            number += 1


async def run_load(load: Load, jobs: int, seconds: float) -> tuple[float, float]:
    """Cycles per second, and the web process's CPU milliseconds per cycle."""
    miners = [asyncio.create_task(be_miner(load, key)) for key in load.miner_keys]
    await asyncio.sleep(2)
    await measure_latency(load, jobs)
    before, cpu, started = load.finished, cpu_seconds(load.platform.web_pid), time.monotonic()
    visitors = min(VISITORS, len(load.miner_keys) * 2)
    await asyncio.gather(*[be_visitor(load, started + seconds) for _ in range(visitors)])
    elapsed, done = time.monotonic() - started, load.finished - before
    cpu = cpu_seconds(load.platform.web_pid) - cpu
    load.is_over = True
    for miner in miners:
        miner.cancel()
    await asyncio.gather(*miners, return_exceptions=True)
    return done / elapsed, cpu / max(done, 1) * 1000


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * q), len(ordered) - 1)]


def prepare(miner_count: int) -> tuple[str, list[str], int]:
    """A business's secret key, the miners' keys and the business's id."""
    from django.utils import timezone

    from accounts.choices import KeyKind
    from accounts.services import create_business, issue_api_key
    from accounts.tenancy import platform_scope
    from chats.models import Bot
    from miners.choices import Trust
    from miners.services import create_enrolment_token, register_miner

    business = create_business(actor=None, name=f"Bench {time.time()}")
    with platform_scope():
        Bot.objects.create(business=business, name="Bench", business_description="All is well.")
        _, visitor_key = issue_api_key(actor=None, business=business, kind=KeyKind.SECRET, name="bench")
    _, token = create_enrolment_token(name="bench", trust=Trust.TRUSTED, max_uses=miner_count)
    keys = []
    for number in range(miner_count):
        registered = register_miner(
            fields={"name": f"bench-{time.time()}-{number}", "agent": "bench/1", "slots": 1},
            enrolment_token=token,
            plain_key="",
            is_open=False,
            now=timezone.now(),
        )
        keys.append(registered.plain_key)
    return visitor_key, keys, business.pk


def start_times(business_id: int) -> list[float]:
    """Milliseconds from submission to a miner's hands, on PostgreSQL's clock."""
    from django.db import connection

    from accounts.tenancy import platform_scope

    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM offered_at - created_at)::float * 1000 FROM miners_job"
            " WHERE business_id = %s AND offered_at IS NOT NULL",
            [business_id],
        )
        return [row[0] for row in cursor.fetchall()]


def claims_so_far() -> int:
    from mia.lib.redis import sync_redis
    from miners.handoff import CLAIMS_KEY

    return int(sync_redis().get(CLAIMS_KEY) or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, nargs="+", default=[1, 20, 300])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    print("miners  start p50  p99 ms   to miner p50  p99 ms   cycles/s  web CPU ms/cycle  claims/job")
    with running_platform() as platform:
        base: float | None = None
        for count in options.miners:
            visitor_key, miner_keys, business_id = prepare(count)
            load = Load(platform, visitor_key, miner_keys)
            claims, at = claims_so_far(), time.monotonic()
            rate, cpu_ms = asyncio.run(run_load(load, options.jobs, options.seconds))
            time.sleep(1.1)
            looks = time.monotonic() - at
            starts = start_times(business_id)[: options.jobs]
            reached = [
                (load.received[job] - asked) * 1000 for job, asked in load.submitted_at.items() if job in load.received
            ]
            per_job = (claims_so_far() - claims - looks) / max(load.finished, 1)
            base = base or rate
            print(
                f"{count:6d} {quantile(starts, 0.5):10.1f} {quantile(starts, 0.99):7.1f} {quantile(reached, 0.5):14.1f}"
                f" {quantile(reached, 0.99):7.1f} {rate:10.1f} {cpu_ms:17.2f} {per_job:11.2f}   ×{rate / base:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
