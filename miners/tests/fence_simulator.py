"""Miners that die, come late, forge and repeat, on sessions of their own, against the guarded statements."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import psycopg
from django.db import connection
from django.utils import timezone
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from accounts.tenancy import platform_scope
from miners import fencing, limits, reaper
from miners.choices import JobKind, Lane
from miners.matching import Seat, describe, match
from miners.models import Job, Miner
from miners.profiles import MinerProfile
from miners.tests.factories import make_miner

MINERS = 24
OFFER = timedelta(milliseconds=300)
LEASE = timedelta(milliseconds=700)
RENEW_S = 0.2
REAP_S = 0.1
JOB_EVERY_S = 0.012
DEADLINE = timedelta(seconds=20)
DRAIN_S = 30.0

END_ATTEMPT = (
    "UPDATE miners_attempt SET outcome = %s, is_fault = %s, ended_at = now() WHERE fence = %s AND outcome = ''"
)
FENCE_OF = "SELECT state, fence, miner_id FROM miners_job WHERE id = %s"
RANDOM_LIVE_JOB = "SELECT id FROM miners_job WHERE state IN ('queued', 'offered', 'running') ORDER BY random() LIMIT 1"

Session = psycopg.Connection[DictRow]
Work = Callable[[Session, random.Random], None]


@dataclass(frozen=True)
class Statements:
    """The statements under test."""

    renew: str = fencing.RENEW
    complete: str = fencing.COMPLETE

    def without_guards(self) -> "Statements":
        """A copy that believes whatever a miner says: the proof that the invariants can fail."""
        guard = "AND j.fence = %(fence)s AND j.miner_id = %(miner)s AND j.state IN ('queued', 'offered', 'running')"
        assert self.complete.count(guard) == 1
        assert self.renew.count(fencing.HELD_BY_CALLER) == 2
        return replace(
            self,
            complete=self.complete.replace(guard, "AND j.state IN ('offered', 'running')"),
            renew=self.renew.replace(fencing.HELD_BY_CALLER, "%(miner)s > 0"),
        )


@dataclass
class Simulator:
    """One run; `counts` says what happened, `accepted` which attempt was told that its answer counts."""

    statements: Statements
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[UUID, int, int]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._miners: list[Miner] = []

    def run(self, seconds: float) -> None:
        self._miners = [make_miner(max_context=8192)[0] for _ in range(MINERS)]
        work = [*map(self._mine, self._miners), self._reap, self._cancel]
        threads = [threading.Thread(target=self._guarded, args=numbered) for numbered in enumerate(work)]
        for thread in threads:
            thread.start()
        try:
            self._submit_for(seconds)
            self._wait_until_drained()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(10)

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    # --- What the platform does

    def _submit_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with platform_scope():
                Job.objects.create(kind=JobKind.CHAT, lane=Lane.CHAT, deadline=timezone.now() + DEADLINE, max_tokens=10)
            self.count("submitted")
            time.sleep(JOB_EVERY_S)

    def _wait_until_drained(self) -> None:
        until = time.monotonic() + DRAIN_S
        while time.monotonic() < until:
            with platform_scope():
                if not Job.objects.live().exists():
                    return
            time.sleep(0.1)

    def _reap(self, session: Session, _: random.Random) -> None:
        while not self._stop.wait(REAP_S):
            session.execute(reaper.EXPIRED_OFFERS, reaper.PARAMETERS)
            for row in session.execute(reaper.OVERDUE, reaper.PARAMETERS).fetchall():
                self._fault(session, row["id"], row["fence"])
            late = "SELECT id FROM miners_job WHERE state IN ('queued', 'offered', 'running') AND deadline <= now()"
            for row in session.execute(late).fetchall():
                self._end(session, row["id"], "expired")

    def _fault(self, session: Session, job_id: UUID, fence: int) -> None:
        parameters = {
            "job": job_id,
            "fence": fence,
            "reason": "",
            "resume_text": "",
            "most_faults": limits.FAULTS_BEFORE_FAILED,
            "error_code": "LEASE_EXPIRED",
            "miner": None,
        }
        with session.transaction():
            if session.execute(fencing.FAULT, parameters).fetchone():
                session.execute(END_ATTEMPT, ["lease_expired", True, fence])
                self.count("faulted")

    def _cancel(self, session: Session, _: random.Random) -> None:
        while not self._stop.wait(0.15):
            for row in session.execute(RANDOM_LIVE_JOB).fetchall():
                self._end(session, row["id"], "cancelled")

    def _end(self, session: Session, job_id: UUID, state: str) -> None:
        with session.transaction():
            ended = session.execute(fencing.END, {"job": job_id, "state": state, "error_code": ""}).fetchone()
            if ended:
                held = session.execute(FENCE_OF, [job_id]).fetchone()
                session.execute(END_ATTEMPT, ["cancelled", False, held and held["fence"]])
                self.count(state)

    # --- What a miner does

    def _mine(self, miner: Miner) -> Work:
        def work(session: Session, chance: random.Random) -> None:
            while not self._stop.is_set():
                offers = self._claim(session, miner, chance.choice([1, 2, 4]))
                if not offers:
                    self._stop.wait(0.02)
                for offer in offers:
                    self._live_through(session, chance, miner.pk, offer["id"], offer["fence"])

        return work

    def _claim(self, session: Session, miner: Miner, slots: int) -> list[DictRow]:
        profile = MinerProfile(miner.pk, miner.name, 1, (), (), 8192, 4, False, False)  # type: ignore[arg-type]
        seats = [Seat(profile, slots, idle=True)]
        waiters = Jsonb(describe(seats))
        with session.transaction():
            found = session.execute(
                fencing.CANDIDATES, {"waiters": waiters, "limit": slots, "affinity_seen": limits.AFFINITY_SEEN}
            ).fetchall()
            pairs = match(found, seats).pairs
            return session.execute(
                fencing.OFFER,
                {
                    "jobs": [job for job, _ in pairs],
                    "miners": [miner.pk] * len(pairs),
                    "models": [""] * len(pairs),
                    "leases": [OFFER] * len(pairs),
                    "acked": [False] * len(pairs),
                    "trusts": [0] * len(pairs),
                    "slots": [1] * len(pairs),
                },
            ).fetchall()

    def _live_through(self, session: Session, chance: random.Random, miner: int, job: UUID, fence: int) -> None:
        fate = chance.random()
        if fate < 0.10:
            self.count("died before the ack")
        elif fate < 0.13:
            session.execute(fencing.TAKE_BACK, {"fences": [fence]})
            self.count("vanished before the reply")
        elif not self._renew(session, miner, job, fence):
            self.count("ack refused")
        elif fate < 0.16:
            returned = {"job": job, "fence": fence, "miner": miner, "resume_text": ""}
            session.execute(fencing.HAND_BACK, {**returned, "gave_way": False, "most_returns": 50})
            session.execute(END_ATTEMPT, ["refused", False, fence])
            self.count("declined")
        elif fate < 0.25:
            self.count("died while answering")
        elif fate < 0.35:
            time.sleep(chance.uniform(0.5, 1.6))
            self._submit(session, miner, job, fence, "late")
        else:
            self._answer(session, chance, miner, job, fence, fate)

    def _answer(self, session: Session, chance: random.Random, miner: int, job: UUID, fence: int, fate: float) -> None:
        if fate < 0.40:
            self._submit(session, miner, job, fence + chance.choice([-1, 1, 7]), "forged")
            stranger = chance.choice([other.pk for other in self._miners if other.pk != miner])
            self._submit(session, stranger, job, fence, "forged")
        until = time.monotonic() + chance.uniform(0.02, 0.5)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(RENEW_S, left))
            if not self._renew(session, miner, job, fence):
                self.count("lease lost")
                return
        self._submit(session, miner, job, fence, "in time")
        if fate > 0.90:
            self._submit(session, miner, job, fence, "again")

    def _renew(self, session: Session, miner: int, job: UUID, fence: int) -> bool:
        parameters = {
            "miner": miner,
            "jobs": [job],
            "fences": [fence],
            "phases": [""],
            "progressed": [True],
            "lease": LEASE,
            "idle_lease": LEASE,
        }
        row = session.execute(self.statements.renew, parameters).fetchone()
        return bool(row and row["renewed"])

    def _submit(self, session: Session, miner: int, job: UUID, fence: int, how: str) -> None:
        parameters = {
            "job": job,
            "fence": fence,
            "miner": miner,
            "output": f"{miner}:{fence}",
            "tool_calls": None,
            "finish_reason": "stop",
            "prompt_tokens": 1,
            "tokens": 1,
            "now": timezone.now(),
            "reported": 1,
            "timing": "{}",
            "remark": "",
            "digest": "",
        }
        try:
            with session.transaction():
                if session.execute(self.statements.complete, parameters).fetchone() is None:
                    self._note_refusal(session, miner, job, fence, how)
                    return
        except psycopg.errors.UniqueViolation:
            self.count("second credit stopped by the database")
            return
        with self._lock:
            self.accepted.append((job, fence, miner))
        self.count(f"accepted: {how}")

    def _note_refusal(self, session: Session, miner: int, job: UUID, fence: int, how: str) -> None:
        row = session.execute(FENCE_OF, [job]).fetchone()
        is_repeat = row is not None and (row["state"], row["fence"], row["miner_id"]) == ("completed", fence, miner)
        self.count(f"{'repeat' if is_repeat else 'refused'}: {how}")

    # --- Threads

    def _guarded(self, number: int, work: Work) -> None:
        try:
            with open_session() as session:
                work(session, random.Random(f"{self.seed}:{number}"))
        except psycopg.Error as error:
            self.failures.append(error)


@contextmanager
def open_session() -> Iterator[Session]:
    """A session of its own on the test's database, in platform scope."""
    given = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    parameters = {name: given[name] for name in names if given.get(name)}
    options = "-c app.platform=on -c synchronous_commit=off"
    with psycopg.connect(**parameters, options=options, autocommit=True, row_factory=dict_row) as session:
        yield session


INVARIANTS = {
    "not finished": "SELECT count(*) FROM miners_job WHERE state IN ('queued', 'offered', 'running')",
    "completed without credit": """
        SELECT count(*) FROM miners_job j WHERE state = 'completed' AND NOT EXISTS (
            SELECT 1 FROM miners_attempt a WHERE a.job_id = j.id AND a.outcome = 'accepted')""",
    "credit without completion": """
        SELECT count(*) FROM miners_attempt a JOIN miners_job j ON j.id = a.job_id
        WHERE a.outcome = 'accepted' AND j.state <> 'completed'""",
    "credit for another's answer": """
        SELECT count(*) FROM miners_attempt a JOIN miners_job j ON j.id = a.job_id
        WHERE a.outcome = 'accepted' AND (j.fence <> a.fence OR j.output <> a.miner_id || ':' || a.fence)""",
    "answer by nobody who was offered the job": """
        SELECT count(*) FROM miners_job j WHERE j.state = 'completed' AND NOT EXISTS (
            SELECT 1 FROM miners_attempt a WHERE a.job_id = j.id AND j.output = a.miner_id || ':' || a.fence)""",
    "fences out of order": """
        SELECT count(*) FROM miners_attempt a JOIN miners_attempt b ON a.job_id = b.job_id
        WHERE a.number < b.number AND a.fence >= b.fence""",
    "attempts that never ended": """
        SELECT count(*) FROM miners_attempt a JOIN miners_job j ON j.id = a.job_id
        WHERE a.outcome = '' AND j.finished_at IS NOT NULL""",
    "more than three faults": "SELECT count(*) FROM miners_job WHERE faults > 3 OR faults < 0",
}


def violations(simulator: Simulator) -> dict[str, int]:
    """How often each invariant is broken; {} when all hold."""
    with open_session() as session:
        broken = {name: int(session.execute(sql).fetchone()["count"]) for name, sql in INVARIANTS.items()}  # type: ignore[index]
    jobs = [job for job, _, _ in simulator.accepted]
    broken["accepted twice"] = len(jobs) - len(set(jobs)) + simulator.counts["second credit stopped by the database"]
    broken["forged and accepted"] = simulator.counts["accepted: forged"]
    return {name: number for name, number in broken.items() if number}
