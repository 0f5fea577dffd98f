"""Each row of the protocol's fault table, done for real: killed processes, emptied and restarted services."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from mia.tests.chaos.herd import Herd
from mia.tests.chaos.machines import HandMiner, Keeper, Machine, hand_miners
from mia.tests.chaos.site import Site, until
from mia.tests.chaos.visitors import Visitor

pytestmark = pytest.mark.chaos

STORY = " ".join(f"word{number}" for number in range(60))
HERD = 500
SAW_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        made.start(miners=HERD)
        with Keeper(hand_miners(made)[-1]):
            yield made
    finally:
        made.stop()


@pytest.fixture
def hands(site: Site) -> list[HandMiner]:
    return hand_miners(site)[:4]


@pytest.fixture
def machines(site: Site) -> Iterator[Callable[..., Machine]]:
    """Starts miners that are gone after the test."""
    started: list[Machine] = []

    def start(name: str, *acts: dict[str, Any]) -> Machine:
        machine = Machine(site, name, list(acts)).start()
        started.append(machine)
        return machine.wait_until_online()

    yield start
    for machine in started:
        machine.kill()


@pytest.fixture(autouse=True)
def _nothing_left_over(site: Site) -> Iterator[None]:
    yield
    site.sql("UPDATE miners_miner SET status = 'offline', last_active = NULL, fault_count = 0, job_count = 0")
    site.sql("UPDATE miners_miner SET trust = 1 WHERE id <> %s", site.facts["miners"][-1][0])
    open_jobs = (
        "UPDATE miners_job SET state = 'cancelled', finished_at = now() WHERE state IN ('queued', 'offered', 'running')"
    )
    site.sql(open_jobs)


def ask(site: Site, message: str, **fields: Any) -> Visitor:
    return Visitor(site.url, site.facts["keys"][0]).ask(message, **fields)


def wait_for_text(asked: Visitor, characters: int = 1) -> None:
    until(lambda: len(asked.shown) >= characters, "the first words", 30)


def let_lease_run_out(site: Site, offer: dict[str, Any]) -> None:
    """Fifteen seconds of silence, without waiting for them; the real reaper then finds the lease run out."""
    site.sql("UPDATE miners_job SET lease_until = now() WHERE id = %s AND state = 'running'", offer["job_id"])
    site.wait_for_state(offer["job_id"], "queued")


# --- Miners


def test_dies_before_the_ack(site: Site, machines: Callable[..., Machine], hands: list[HandMiner]) -> None:
    """The offer is queued again after five seconds, without a fault for anybody."""
    doomed = machines("doomed", {"fault": "exit_at_offer"})
    asked = ask(site, "Who takes this?")
    until(lambda: not doomed.is_running, "the miner to die of its offer")
    began = time.monotonic()
    offer = hands[0].take(asked.job_id)
    assert time.monotonic() - began < 8
    assert hands[0].result(offer, "I do.").status_code == 200
    first, second = site.attempts(asked.job_id)
    assert (first["outcome"], first["is_fault"], second["outcome"]) == ("offer_expired", False, "accepted")
    assert doomed.row["fault_count"] == 0
    assert site.job(asked.job_id)["faults"] == 0
    assert asked.follow(10).shown == "I do."


def test_the_reply_with_the_offer_was_lost(site: Site, hands: list[HandMiner]) -> None:
    """The same poll again brings the same offer; nothing was given out twice."""
    asked = ask(site, "Lost?")
    query = {"miner_id": hands[0].id, "wait": 5}
    headers = {"Authorization": f"Bearer {hands[0].key}", "X-MIA-Poll": f"poll-{asked.job_id}"}
    replies = [requests.get(f"{site.url}/job/next", params=query, headers=headers, timeout=20) for _ in range(2)]
    first, again = [reply.json()["jobs"][0] for reply in replies]
    assert first["fence"] == again["fence"]
    assert hands[0].beat(again) == "ok"
    assert len(site.attempts(asked.job_id)) == 1


def test_dies_while_answering(site: Site, machines: Callable[..., Machine]) -> None:
    """The visitor's answer goes on elsewhere within ten seconds: where it stopped, or from the start after a reset."""
    story = {"match": "story", "text": STORY, "delay_ms": 150, "continues": True}
    speech = {"match": "speech", "text": f"First {STORY}", "delay_ms": 150}
    doomed = machines("doomed", story, speech)
    site.settle()
    continued, restarted = ask(site, "Tell a story"), ask(site, "Hold a speech")
    for asked in (continued, restarted):
        asked.follow_in_background()
        wait_for_text(asked, 20)
    machines("heir", story | {"delay_ms": 10}, {"match": "speech", "text": f"Second {STORY}", "delay_ms": 10})
    doomed.kill()
    killed_at = time.monotonic()
    for asked in (continued, restarted):
        until(lambda asked=asked: asked.is_done, "the rest of the answer", 25)
        assert min(at for at in asked.times_of("delta") if at > killed_at + 0.5) - killed_at < SAW_WITHIN_S
        assert asked.problems == []
    assert (continued.shown, continued.times_of("reset")) == (STORY, [])
    assert (restarted.shown, len(restarted.times_of("reset"))) == (f"Second {STORY}", 1)
    for asked in (continued, restarted):
        assert asked.result()["result"]["response"] == asked.shown
        first, second = site.attempts(asked.job_id)
        assert (first["is_fault"], first["is_blamed"], second["outcome"]) == (True, True, "accepted")
    assert doomed.row["fault_count"] == 2
    site.sql("UPDATE miners_miner SET last_active = now() - interval '18 s' WHERE name = 'doomed'")
    until(lambda: doomed.row["status"] == "offline", "the dead miner to be seen as offline", 5)


def test_a_gpu_hangs_while_heartbeats_go_on(site: Site, machines: Callable[..., Machine]) -> None:
    hung = machines("hung", {"text": STORY, "delay_ms": 50, "after": 10, "fault": "hang"})
    site.settle()
    asked = ask(site, "Hang")
    asked.follow_in_background()
    wait_for_text(asked, 50)
    machines("heir", {"text": STORY, "delay_ms": 10, "continues": True})
    until(lambda: asked.is_done, "the rest of the answer", 25)
    assert asked.longest_pause_s() < SAW_WITHIN_S
    assert (asked.shown, asked.problems) == (STORY, [])
    first, _ = site.attempts(asked.job_id)
    assert (first["outcome"], first["is_fault"]) == ("stalled", True)
    assert hung.is_running
    assert hung.row["last_active"] is not None


def test_back_late_before_the_job_was_re_offered(site: Site, hands: list[HandMiner]) -> None:
    asked = ask(site, "Slow?")
    offer = hands[0].take(asked.job_id)
    let_lease_run_out(site, offer)
    assert site.miner(hands[0].id)["fault_count"] == 1
    reply = hands[0].result(offer, "Late, but here.")
    assert (reply.status_code, reply.json()["duplicate"]) == (200, False)
    assert asked.follow(10).shown == "Late, but here."
    assert site.miner(hands[0].id)["fault_count"] == 0
    assert [attempt["outcome"] for attempt in site.attempts(asked.job_id)] == ["accepted"]


def test_back_late_after_the_job_was_re_offered(site: Site, hands: list[HandMiner]) -> None:
    late, prompt = hands[:2]
    asked = ask(site, "Slow?")
    old = late.take(asked.job_id)
    let_lease_run_out(site, old)
    new = prompt.take(asked.job_id)
    reply = late.result(old, "Too late.")
    assert (reply.status_code, reply.json()["error_code"]) == (409, "LEASE_LOST")
    assert late.beat(old) == "lost"
    assert late.chunk(old, 0, "Too late.")["verdict"] == "lost"
    assert prompt.result(new, "In time.").status_code == 200
    assert asked.follow(10).shown == "In time."
    assert asked.result()["result"]["response"] == "In time."


def test_submits_twice_replays_and_forges(site: Site, hands: list[HandMiner]) -> None:
    honest, liar = hands[:2]
    asked = ask(site, "Once?")
    offer = honest.take(asked.job_id)
    forged = {**offer, "fence": str(int(offer["fence"]) + 1)}
    for lie in (offer, forged, offer):
        assert liar.result(lie, "Mine!").json()["error_code"] == "NOT_THE_HOLDER"
    replies: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: replies.append(honest.result(offer, "Once."))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    replies.append(honest.result(offer, "Twice."))
    assert [reply.status_code for reply in replies] == [200] * 5
    assert sorted(reply.json()["duplicate"] for reply in replies) == [False, True, True, True, True]
    kept = site.sql("SELECT message FROM chats_chatlog WHERE job_id = %s AND role = 'assistant'", asked.job_id)
    assert [row["message"] for row in kept] == ["Once."]
    assert site.miner(honest.id)["job_count"] == 1
    assert site.miner(liar.id)["trust"] == -1


def test_a_cancelled_answer_frees_its_gpu_within_a_second(site: Site, machines: Callable[..., Machine]) -> None:
    machine = machines("busy", {"match": "long", "text": STORY, "delay_ms": 500})
    asked = ask(site, "A long one")
    asked.follow_in_background()
    wait_for_text(asked)
    key = {"Authorization": f"Bearer {asked.key}"}
    assert requests.delete(f"{site.url}/job/{asked.job_id}", headers=key, timeout=10).status_code == 200
    cancelled_at = time.monotonic()
    until(lambda: "ended: cancelled" in machine.said(), "the miner to stop", 5)
    assert time.monotonic() - cancelled_at < 1.5
    until(lambda: asked.is_done, "the visitor to be told", 5)
    assert asked.ending["status"] == "cancelled"


# --- The platform


def test_the_web_process_is_killed(site: Site, machines: Callable[..., Machine], hands: list[HandMiner]) -> None:
    """Down for longer than an answer may stall: the miner goes on by itself, and nothing is counted against it."""
    machine = machines("patient", {"text": STORY, "delay_ms": 250})
    asked = ask(site, "Going on?")
    asked.follow_in_background()
    wait_for_text(asked, 20)
    site.kill_web(site.webs[0])
    time.sleep(7.0)
    site.launch_web()
    site.wait_until_ready()
    greedy = threading.Thread(target=lambda: hands[0].next(wait=5), daemon=True)
    greedy.start()
    until(lambda: asked.is_done, "the whole answer", 40)
    assert (asked.shown, asked.problems) == (STORY, [])
    (attempt,) = site.attempts(asked.job_id)
    assert (attempt["outcome"], attempt["is_fault"]) == ("accepted", False)
    assert (site.job(asked.job_id)["faults"], machine.row["fault_count"]) == (0, 0)
    greedy.join(10)


def test_redis_is_emptied(site: Site, machines: Callable[..., Machine]) -> None:
    machines("steady", {"text": STORY, "delay_ms": 60})
    asked = ask(site, "Still there?")
    asked.follow_in_background()
    for characters in (20, 150):
        wait_for_text(asked, characters)
        site.empty_redis()
    until(lambda: asked.is_done, "the whole answer", 20)
    assert (asked.shown, asked.problems) == (STORY, [])
    assert asked.longest_pause_s() < 3
    assert len(site.attempts(asked.job_id)) == 1


def test_redis_is_restarted(site: Site, machines: Callable[..., Machine]) -> None:
    machines("steady", {"text": STORY, "delay_ms": 60})
    asked = ask(site, "Still there?")
    asked.follow_in_background()
    wait_for_text(asked, 20)
    site.redis.crash()
    time.sleep(1.0)
    site.start_redis()
    until(lambda: asked.is_done, "the whole answer", 20)
    assert (asked.shown, asked.problems) == (STORY, [])
    assert len(site.attempts(asked.job_id)) == 1
    again = ask(site, "And now?").follow(20)
    assert again.shown == STORY
    assert len(again.times_of("delta")) > 3, "word by word again"


def test_redis_is_down(site: Site, machines: Callable[..., Machine]) -> None:
    """Questions are taken and answered, whole instead of word by word, at most a second later."""
    machines("steady", {"match": "short", "text": "Quite well.", "delay_ms": 10}, {"text": STORY, "delay_ms": 60})
    begun = ask(site, "A long story")
    begun.follow_in_background()
    wait_for_text(begun, 20)
    site.redis.crash()
    try:
        began = time.monotonic()
        asked = ask(site, "A short one").follow(20)
        assert (asked.shown, asked.problems) == ("Quite well.", [])
        assert time.monotonic() - began < 6
        until(lambda: begun.is_done, "the answer that had begun", 20)
        assert (begun.shown, begun.problems) == (STORY, [])
    finally:
        site.start_redis()
    assert {len(site.attempts(one.job_id)) for one in (asked, begun)} == {1}


def test_postgresql_is_restarted(site: Site, machines: Callable[..., Machine]) -> None:
    machine = machines("steady", {"text": STORY, "delay_ms": 80})
    asked = ask(site, "Still there?")
    asked.follow_in_background()
    wait_for_text(asked, 20)
    site.stop_postgres_at_once()
    refused = refusal(site, asked.key)
    time.sleep(1.0)
    site.start_postgres()
    started_at = time.monotonic()
    later = ask(site, "And now?")
    assert time.monotonic() - started_at < 8
    assert (refused.status_code, refused.json()["error_code"]) == (503, "UNAVAILABLE")
    assert int(refused.headers["Retry-After"]) >= 1
    later.follow_in_background()
    for one in (asked, later):
        until(lambda one=one: one.is_done, "the whole answer", 40)
        assert (one.shown, one.problems) == (STORY, [])
        assert one.result()["result"]["response"] == STORY
    assert len(site.attempts(asked.job_id)) == 1
    assert machine.row["fault_count"] == 0


def refusal(site: Site, key: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{site.url}/chat", json={"message": "Hello?"}, headers=headers, timeout=20)


def test_five_hundred_miners_reconnect_at_once(site: Site) -> None:
    """The web process is killed under them; when it is back, dispatch takes at most a second."""
    with Herd(site.port, [miner.key for miner in hand_miners(site)]) as herd:
        herd.wait_until_parked(HERD, 60)
        site.kill_web(site.webs[0])
        herd.wait_until_parked(0, 10)
        site.launch_web()
        site.wait_until_ready()
        herd.wait_until_parked(HERD, 60)
        jobs = [ask(site, f"Question {number}").job_id for number in range(40)]
        until(lambda: len(herd.offered) >= len(jobs), "every question to be handed out", 30)
        most = site.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'mia'")[0]["count"]
    waited = (
        "SELECT extract(epoch FROM offered_at - created_at)::float AS s FROM miners_job WHERE id = ANY (%s::uuid[])"
    )
    delays = sorted(row["s"] for row in site.sql(waited, jobs))
    assert sorted(herd.offered) == sorted(jobs), "each job once"
    # One second on a quiet machine; two cores that also run the other half of the tests get four.
    assert delays[-1] <= 4.0, delays
    assert most <= 20 + 6 + 4, "connections stay within the pools of web and dispatcher"


BAD_BODIES: dict[str, bytes] = {
    "not JSON": b"{",
    "not UTF-8": b'{"job_id": "\xff"}',
    "a NUL": b'{"output": "\\u0000"}',
    "half a surrogate": b'{"output": "\\ud800"}',
    "nested too deep": b"[" * 5000 + b"]" * 5000,
    "a repeated key": b'{"status": "idle", "status": "busy"}',
    "not a number": b'{"tokens_generated": NaN}',
    "too large a number": b'{"slots": 1e999}',
    "no object": b'["idle"]',
    "wrong types": b'{"job_id": {}, "jobs": 5, "slots": [], "status": 1, "name": {}, "message": {}}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_input_writes_nothing(site: Site, hands: list[HandMiner], name: str) -> None:
    count = "SELECT (SELECT count(*) FROM miners_job) AS jobs, (SELECT count(*) FROM miners_miner) AS miners"
    before = site.sql(count)
    headers = {"Authorization": f"Bearer {hands[0].key}", "Content-Type": "application/json"}
    paths = [
        "/job/claim",
        "/heartbeat",
        "/job/chunks",
        "/job/result",
        f"/miner/{hands[0].id}/status",
        "/register_miner",
    ]
    for path in paths:
        reply = requests.post(site.url + path, data=BAD_BODIES[name], headers=headers, timeout=10)
        assert is_refusal(reply, 400), (path, reply.status_code, reply.text)
    chat = headers | {"Authorization": f"Bearer {site.facts['keys'][0]}"}
    assert is_refusal(requests.post(f"{site.url}/chat", data=BAD_BODIES[name], headers=chat, timeout=10), 400)
    assert site.sql(count) == before


def test_bodies_over_a_mebibyte_and_unknown_ids_are_refused(site: Site, hands: list[HandMiner]) -> None:
    miner = hands[0]
    headers = {"Authorization": f"Bearer {miner.key}", "Content-Type": "application/json"}
    large = json.dumps({"output": "x" * 1_100_000}).encode()
    for path in ("/job/result", "/heartbeat", "/job/chunks", "/register_miner"):
        assert is_refusal(requests.post(site.url + path, data=large, headers=headers, timeout=10), 413), path
    unknown = {"job_id": "00000000-0000-4000-8000-000000000000", "fence": "5"}
    assert is_refusal(miner.result(unknown, "x"), 404)
    assert miner.beat(unknown) == "lost"
    assert miner.chunk(unknown, 0, "x")["verdict"] == "lost"
    assert is_refusal(miner.post("/miner/999999/status", {"status": "idle"}), 404)
    assert is_refusal(requests.get(f"{site.url}/job/{unknown['job_id']}/result", headers=headers, timeout=10), 403)


def is_refusal(reply: requests.Response, status: int) -> bool:
    return reply.status_code == status and reply.json().keys() == {"detail", "error_code", "timestamp"}
