"""The miner as a whole against a platform that speaks the protocol."""

import hashlib

from gpu_miner.engines.scripted import Act
from gpu_miner.errors import EngineHung, Refused
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakePlatform, Fault

HELLO = Act(text="Good morning, dear visitor of our little shop", delay_ms=5)


def test_a_job_is_answered_word_by_word(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed")
    assert job.result is not None
    assert job.text == HELLO.text == job.result["output"]
    assert job.chunk_posts >= 2
    assert job.tokens == job.result["tokens_generated"] == len(HELLO.text.split())


def test_the_result_carries_everything_the_platform_wants(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(HELLO)
    job = platform.ask("hello", attempt=3)
    platform.wait(lambda: job.state == "completed")
    result = job.result or {}
    assert result["success"] is True
    assert (result["attempt"], result["fence"], result["session_id"]) == (3, job.fence, "s-1")
    assert (result["status"], result["finish_reason"]) == ("ok", "stop")
    assert result["output_sha256"] == hashlib.sha256(HELLO.text.encode()).hexdigest()
    assert result["usage"]["completion_tokens"] == len(HELLO.text.split())
    assert set(result["timing"]) == {"prefill_ms", "ttft_ms", "decode_ms"}


def test_no_job_starts_before_the_platform_said_ok(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/heartbeat", *[Fault(status=503)] * 4)
    start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: len(platform.bodies("/heartbeat")) >= 3)
    assert job.chunk_posts == 0
    platform.wait(lambda: job.state == "completed")
    acknowledged = next(i for i, (path, body, _) in enumerate(platform.seen) if path == "/heartbeat" and body["jobs"])
    first_words = next(i for i, (path, _, _) in enumerate(platform.seen) if path == "/job/chunks")
    assert acknowledged < first_words


def test_an_offer_that_is_lost_is_never_started(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO)
    job = platform.ask("hello")
    job.verdict = "lost"
    platform.wait(lambda: job.phases)
    platform.wait(lambda: supervisor.miner.jobs.is_empty)
    assert (job.chunk_posts, job.results_seen) == (0, 0)


def test_an_offer_whose_ok_never_comes_is_dropped(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO)
    platform.wait(lambda: platform.bodies("/job/next"))
    platform.fail("/heartbeat", *[Fault(status=503)] * 30)
    job = platform.ask("hello", offer_ms=300)
    platform.wait(lambda: job.state == "offered")
    platform.wait(lambda: supervisor.miner.tally.dropped == 1)
    assert (job.chunk_posts, job.results_seen) == (0, 0)


def test_as_many_jobs_run_at_once_as_there_are_slots(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="one two three four five six seven eight", delay_ms=40), slots=2)
    jobs = [platform.ask(f"q{number}") for number in range(3)]
    platform.wait(lambda: sum(job.state == "running" for job in jobs) == 2)
    assert sum(job.state == "queued" for job in jobs) == 1
    platform.wait(lambda: all(job.state == "completed" for job in jobs))


def test_one_request_carries_the_words_of_all_jobs(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="word " * 30, delay_ms=10), slots=4)
    jobs = [platform.ask(f"q{number}") for number in range(4)]
    platform.wait(lambda: all(job.state == "completed" for job in jobs))
    assert max(len(body["jobs"]) for body in platform.bodies("/job/chunks")) == 4


def test_a_cancelled_job_stops_and_sends_no_result(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="word " * 200, delay_ms=10))
    job = platform.ask("hello")
    platform.wait(lambda: job.text)
    job.verdict = "cancel"
    platform.wait(lambda: supervisor.miner.jobs.slots_used == 0)
    platform.wait(lambda: supervisor.miner.jobs.is_empty)
    assert job.results_seen == 0


def test_a_cancellation_reaches_a_job_that_has_no_words_yet(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.config["heartbeat_ms"] = 5000
    supervisor = start_miner(Act(text="late", first_delay_ms=20_000))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "running")
    job.verdict = "cancel"
    platform.wait(lambda: supervisor.miner.jobs.is_empty, timeout_s=2)


def test_a_poll_reply_can_cancel_a_job(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="word " * 200, delay_ms=10), slots=2)
    job = platform.ask("hello")
    platform.wait(lambda: job.text)
    platform.set(news={"cancel": [job.job_id]})
    platform.wait(lambda: supervisor.miner.jobs.is_empty)
    assert job.results_seen == 0


def test_an_engine_error_is_reported_and_never_an_answer(platform: FakePlatform, start_miner: MinerStarter) -> None:
    error = {"code": "out_of_memory", "message": "CUDA out of memory", "retryable": True}
    start_miner(Act(text="half an ans", after=2, fault="error", error=error, delay_ms=1))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "failed")
    assert job.result is not None
    assert (job.result["status"], job.result["success"], job.result["output"]) == ("error", False, "")
    assert job.result["error"] == error


def test_a_crash_in_the_engine_is_a_retryable_error(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="a b c", after=1, fault="raise", delay_ms=1, match="bug"), HELLO)
    job = platform.ask("bug")
    platform.wait(lambda: job.state == "failed")
    assert job.result is not None
    assert job.result["error"] == {"code": "engine_crashed", "retryable": True, "message": "the engine crashed"}
    healthy = platform.ask("hello")
    platform.wait(lambda: healthy.state == "completed")
    assert supervisor.failure is None


def test_an_empty_answer_is_an_error(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="  "))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "failed")
    assert job.result is not None
    assert job.result["error"]["code"] == "empty_output"


def test_tool_calls_are_streamed_and_returned(platform: FakePlatform, start_miner: MinerStarter) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find_order", "arguments": '{"id": 7}'}}
    start_miner(Act(tool_calls=(call,)))
    job = platform.ask("where is my order?", tools=[{"type": "function", "function": {"name": "find_order"}}])
    platform.wait(lambda: job.state == "completed")
    assert job.result is not None
    assert (job.result["tool_calls"], job.result["finish_reason"]) == ([call], "tool_calls")
    assert job.tool_deltas == [call]


def test_an_answer_that_was_begun_elsewhere_goes_on(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="Our shop opens at nine.", continues=True, delay_ms=1))
    job = platform.ask("hello", resume_text="Our shop")
    platform.wait(lambda: job.state == "completed")
    assert job.first_chunk_offset == len("Our shop")
    assert job.result is not None
    assert job.text == job.result["output"] == "Our shop opens at nine."


def test_an_engine_that_cannot_continue_starts_at_zero(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="We open at nine.", delay_ms=1))
    job = platform.ask("hello", resume_text="Our shop")
    platform.wait(lambda: job.state == "completed")
    assert job.first_chunk_offset == 0
    assert job.result is not None
    assert job.result["output"] == "We open at nine."


def test_draining_finishes_what_runs_and_takes_nothing_new(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="word " * 20, delay_ms=15), slots=1)
    running = platform.ask("first")
    platform.wait(lambda: running.text)
    supervisor.drain()
    waiting = platform.ask("second")
    assert supervisor.wait(8)
    assert (running.state, waiting.state) == ("completed", "queued")
    assert "draining" in platform.statuses
    assert platform.statuses[-1] == "offline"
    assert supervisor.failure is None


def test_an_offer_of_a_poll_that_was_parked_before_the_drain_is_served(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    """Leaving it would cost the visitor the five seconds until the offer expires."""
    supervisor = start_miner(Act(text="word " * 40, delay_ms=15), slots=2)
    running = platform.ask("first")
    platform.wait(lambda: running.text and platform.bodies("/job/next")[-1]["slots"] == "1")
    supervisor.drain()
    late = platform.ask("second")
    assert supervisor.wait(8)
    assert (running.state, late.state) == ("completed", "completed")


def test_stopping_gives_up_what_runs(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="word " * 500, delay_ms=15))
    job = platform.ask("first")
    platform.wait(lambda: job.text)
    supervisor.stop()
    assert supervisor.wait(3)
    assert job.results_seen == 0


def test_the_platform_can_drain_and_resume_a_miner(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO)
    platform.wait(lambda: platform.bodies("/job/next"))
    platform.set(news={"drain": True}, heartbeat_news={"drain": True})
    platform.wait(lambda: "draining" in platform.statuses)
    job = platform.ask("hello")
    assert not supervisor.wait(0.5)
    assert job.state == "queued"
    platform.set(news={}, heartbeat_news={"drain": False})
    platform.wait(lambda: job.state == "completed")


def test_a_new_config_is_followed_at_once(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO, slots=4)
    platform.wait(lambda: platform.bodies("/job/next"))
    platform.set(heartbeat_news={"config": {"max_slots": 1, "poll_wait_ms": 2000, "flush_ms": "soon"}})
    platform.wait(lambda: platform.bodies("/job/next")[-1]["slots"] == "1")
    assert platform.bodies("/job/next")[-1]["wait"] == "2"
    assert supervisor.miner.config.flush_ms == 20


def test_a_refused_key_ends_the_miner(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO)
    platform.wait(lambda: platform.bodies("/job/next"))
    platform.set(miners={})
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, Refused)


def test_an_engine_that_never_lets_go_ends_the_miner(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="a b c", after=1, fault="hang", ignore_cancel=True, delay_ms=1), slots=1)
    job = platform.ask("hello")
    platform.wait(lambda: job.text)
    job.verdict = "lost"
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, EngineHung)


def test_a_job_past_its_deadline_is_given_up(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="late", first_delay_ms=30_000))
    platform.ask("hello", deadline_ms=-4_900)
    platform.wait(lambda: supervisor.miner.tally.dropped == 1)


def test_an_engine_that_fails_in_a_row_gets_no_more_jobs(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(Act(text="x", fault="error"), slots=1)
    for number in range(3):
        job = platform.ask(f"q{number}")
        platform.wait(lambda job=job: job.state == "failed")
    platform.wait(lambda: "paused" in platform.statuses)
    waiting = platform.ask("q4")
    assert not supervisor.wait(0.6)
    assert waiting.state == "queued"


def test_a_job_that_no_engine_could_do_is_not_held_against_this_one(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    too_long = {"code": "context_too_long", "retryable": True}
    supervisor = start_miner(Act(text="x", fault="error", error=too_long), slots=1)
    jobs = [platform.ask(f"q{number}") for number in range(5)]
    platform.wait(lambda: all(job.state == "failed" for job in jobs))
    assert not supervisor.miner.is_resting


def test_once_means_one_job(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO, once=True, slots=4)
    jobs = [platform.ask("first"), platform.ask("second")]
    assert supervisor.wait(8)
    assert sorted(job.state for job in jobs) == ["completed", "queued"]


def test_garbage_from_an_engine_arrives_as_storable_text(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="fine ", fault="garbage", after=0, delay_ms=1))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed")
    assert job.result is not None
    assert "\0" not in job.result["output"]
    assert job.text == job.result["output"]
    job.text.encode()
