"""A thousand questions while miners, web processes and PostgreSQL die and Redis is emptied: none lost, none doubled."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mia.tests.chaos.machines import Machine
from mia.tests.chaos.site import Site
from mia.tests.chaos.visitors import Visitor

pytestmark = pytest.mark.chaos

QUESTIONS = 1000
VISITORS = 40
MACHINES = 5
MORTALS = 2
"""The miners that are killed, again and again: a job that three different ones died of would rightly fail."""
MINER_KILLS = 30
WEB_KILLS = 5
LONGEST_S = 90.0
STORY = "Once upon a time there was a parcel that nobody had sent and that everybody waited for until it came."
ACTS = [{"match": "story", "text": STORY, "delay_ms": 20, "continues": True}]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        made.start(webs=2)
        yield made
    finally:
        made.stop()


class Havoc:
    """Kills something, and starts it again, until it has killed enough or everything is over."""

    def __init__(self, site: Site, machines: list[Machine], seed: int) -> None:
        self.miner_kills = self.web_kills = self.postgres_crashes = 0
        self._site = site
        self._machines = machines
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    @property
    def is_satisfied(self) -> bool:
        return self.miner_kills >= MINER_KILLS and self.web_kills >= WEB_KILLS and self.postgres_crashes >= 1

    def _rage(self) -> None:
        for number in range(1, MINER_KILLS + 1):
            if self._over.wait(0.9):
                return
            self._kill_a_miner()
            if number % 6 == 0:
                self._kill_a_web()
            if number % 10 == 4:
                self._site.empty_redis()
            if number == MINER_KILLS // 2:
                self._crash_postgres()

    def _kill_a_miner(self) -> None:
        machine = self._chance.choice(self._machines)
        machine.kill()
        machine.start()
        self.miner_kills += 1

    def _kill_a_web(self) -> None:
        self._site.kill_web(self._chance.choice(self._site.webs))
        self._site.launch_web()
        self.web_kills += 1

    def _crash_postgres(self) -> None:
        self._site.crash_postgres()
        self._site.start_postgres()
        self.postgres_crashes += 1


def test_a_thousand_questions_survive_the_chaos(site: Site) -> None:
    seed = random.SystemRandom().randrange(10**6)
    machines = [Machine(site, f"machine-{number}", ACTS, slots=8).start() for number in range(MACHINES)]
    havoc = Havoc(site, machines[:MORTALS], seed)
    began = time.monotonic()
    try:
        for machine in machines:
            machine.wait_until_online()
        havoc.start()
        with ThreadPoolExecutor(VISITORS) as crowd:
            visitors = list(crowd.map(lambda number: ask_one(site, number), range(QUESTIONS)))
        took_s = time.monotonic() - began
    finally:
        havoc.stop()
        for machine in machines:
            machine.kill()
    print(f"seed {seed}: {took_s:.0f} s, {havoc.miner_kills} miners, {havoc.web_kills} webs killed, {tally(site)}")
    assert havoc.is_satisfied, "everything was over before everything had been killed"
    check_rows(site, visitors)
    check_screens(site, visitors)
    assert took_s <= LONGEST_S


def ask_one(site: Site, number: int) -> Visitor:
    """One question, every other about the story; each visitor reads its answer to the end."""
    key = site.facts["keys"][number % len(site.facts["keys"])]
    words = f"Tell the story to {number}" if number % 2 else f"Number {number} wants to know where its parcel is now."
    return Visitor(site.url, key).ask(words).follow(80)


def answer_to(number: int) -> str:
    return STORY if number % 2 else f"You said: Number {number} wants to know where its parcel is now."


def tally(site: Site) -> dict[str, int]:
    outcomes = "SELECT outcome, count(*) FROM miners_attempt GROUP BY 1 ORDER BY 2 DESC"
    return {row["outcome"]: row["count"] for row in site.sql(outcomes)}


def check_rows(site: Site, visitors: list[Visitor]) -> None:
    """What PostgreSQL holds: every question answered, credited and kept once."""
    assert len({visitor.job_id for visitor in visitors}) == QUESTIONS
    states = site.sql("SELECT state, count(*) FROM miners_job GROUP BY 1")
    assert {row["state"]: row["count"] for row in states} == {"completed": QUESTIONS}
    once = """
        SELECT j.id FROM miners_job j
        LEFT JOIN miners_attempt a ON a.job_id = j.id AND a.outcome = 'accepted'
        LEFT JOIN chats_chatlog c ON c.job_id = j.id AND c.role = 'assistant'
        GROUP BY j.id HAVING count(DISTINCT a.fence) <> 1 OR count(DISTINCT c.id) <> 1
            OR min(a.fence) <> j.fence OR min(c.message) <> j.output"""
    assert site.sql(once) == []
    assert site.sql("SELECT 1 FROM miners_attempt WHERE outcome = ''") == []
    credited = site.sql("SELECT sum(job_count) AS jobs FROM miners_miner")
    assert credited[0]["jobs"] == QUESTIONS


def check_screens(site: Site, visitors: list[Visitor]) -> None:
    """What visitors saw is what was kept, letter by letter."""
    kept = {str(row["id"]): row["output"] for row in site.sql("SELECT id, output FROM miners_job")}
    for number, visitor in enumerate(visitors):
        assert visitor.is_done, (number, visitor.taken, visitor.events)
        assert visitor.problems == []
        assert visitor.shown == kept[visitor.job_id] == answer_to(number)
