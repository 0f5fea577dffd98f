"""The token bucket: exact under a crowd, honest about when to come back, and gracious while Redis is away."""

import asyncio
import signal
import threading
import time

import pytest
from django.urls import path
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from mia.lib.errors import RateLimited, Unavailable
from mia.lib.ratelimit import Bucket, BucketThrottle, Decision, atake, redis_pause, take
from mia.lib.redis import async_redis, close_async_redis, sync_redis

SLOW = Bucket("slow", rate_per_s=0.01, burst=5)
QUICK = Bucket("quick", rate_per_s=20, burst=2)
MONEY = Bucket("money", rate_per_s=0.01, burst=5, fail_closed=True)


class SlowThrottle(BucketThrottle):
    bucket = SLOW


class MoneyThrottle(BucketThrottle):
    bucket = MONEY


class NobodyThrottle(BucketThrottle):
    bucket = SLOW

    def holder(self, request, view):
        return None


class LimitedView(APIView):
    authentication_classes = []
    permission_classes = []
    throttle_classes = [SlowThrottle]

    def get(self, request):
        return Response({})


urlpatterns = [
    path("limited", LimitedView.as_view()),
    path("money", LimitedView.as_view(throttle_classes=[MoneyThrottle])),
    path("free", LimitedView.as_view(throttle_classes=[NobodyThrottle])),
]


@pytest.fixture(autouse=True)
def _no_pause():
    redis_pause.end()
    yield
    redis_pause.end()


@pytest.fixture
def no_redis(embedded_redis):
    embedded_redis.crash()


@pytest.fixture
def api(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    return APIClient()


def in_threads(count, work):
    """The results of `work`, called by so many threads at the same moment."""
    results, gate = [], threading.Barrier(count)

    def call():
        gate.wait()
        results.append(work())

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class TestTake:
    def test_the_burst_passes_and_no_more(self):
        assert [take(SLOW, "a").allowed for _ in range(7)] == [True] * 5 + [False] * 2

    def test_of_200_threads_at_once_exactly_the_burst_passes(self):
        decisions = in_threads(200, lambda: take(Bucket("crowd", rate_per_s=0.001, burst=10), "a"))
        assert sum(decision.allowed for decision in decisions) == 10
        assert not any(decision.limiter_down for decision in decisions)

    def test_holders_do_not_share(self):
        for _ in range(5):
            take(SLOW, "a")
        assert take(SLOW, "b").allowed

    def test_buckets_of_the_same_holder_do_not_share(self):
        for _ in range(5):
            take(SLOW, "a")
        assert take(MONEY, "a").allowed

    def test_a_refusal_tells_when_the_next_token_comes(self):
        for _ in range(5):
            take(SLOW, "a")
        assert 99_000 < take(SLOW, "a").retry_after_ms <= 100_000

    def test_a_refusal_costs_nothing(self):
        for _ in range(2):
            take(QUICK, "a")
        waits = [take(QUICK, "a").retry_after_ms for _ in range(5)]
        assert max(waits) <= 50

    def test_after_the_time_that_was_told_it_passes(self):
        for _ in range(2):
            take(QUICK, "a")
        time.sleep(take(QUICK, "a").retry_after_ms / 1000)
        assert take(QUICK, "a").allowed

    def test_an_idle_bucket_fills_to_the_burst_and_not_beyond(self):
        take(QUICK, "a")
        time.sleep(0.3)
        assert [take(QUICK, "a").allowed for _ in range(3)] == [True, True, False]

    def test_a_cost_of_several_tokens_is_taken_whole_or_not_at_all(self):
        assert take(SLOW, "a", cost=4).allowed
        assert not take(SLOW, "a", cost=2).allowed
        assert take(SLOW, "a", cost=1).allowed

    def test_a_cost_beyond_the_burst_never_passes(self):
        assert not take(SLOW, "a", cost=6).allowed

    def test_a_bucket_that_is_full_again_leaves_nothing_in_redis(self, redis_client):
        take(QUICK, "a")
        assert 0 < redis_client.pttl("mia:limit:quick:a") <= 51

    def test_a_long_key_from_outside_is_hashed(self, redis_client):
        take(SLOW, "x" * 100_000)
        [key] = redis_client.keys()
        assert key.startswith(b"mia:limit:slow:")
        assert len(key) < 100

    @pytest.mark.parametrize("key", ["ü€😀", "a b\r\nFLUSHALL", "", "{x}", "mia:limit:slow:b"])
    def test_odd_keys_are_just_keys(self, key):
        assert [take(SLOW, key).allowed for _ in range(6)] == [True] * 5 + [False]


class TestATake:
    def test_threads_and_coroutines_share_a_bucket(self):
        async def take_twice():
            decisions = [await atake(SLOW, "a") for _ in range(2)]
            await close_async_redis()
            return decisions

        for _ in range(4):
            take(SLOW, "a")
        assert [decision.allowed for decision in asyncio.run(take_twice())] == [True, False]

    def test_of_200_coroutines_at_once_exactly_the_burst_passes(self):
        async def crowd():
            bucket = Bucket("crowd", rate_per_s=0.001, burst=10)
            decisions = await asyncio.gather(*(atake(bucket, "a") for _ in range(200)))
            await close_async_redis()
            return decisions

        assert sum(decision.allowed for decision in asyncio.run(crowd())) == 10


class TestDecision:
    def test_an_allowed_one_requires_nothing(self):
        Decision(allowed=True).require()

    def test_a_refused_one_raises_with_whole_seconds(self):
        with pytest.raises(RateLimited) as caught:
            Decision(allowed=False, retry_after_ms=1001).require()
        assert caught.value.retry_after_s == 2

    def test_a_limit_that_could_not_be_checked_is_unavailable_and_not_the_callers_fault(self):
        with pytest.raises(Unavailable) as caught:
            Decision(allowed=False, retry_after_ms=1000, limiter_down=True).require()
        assert caught.value.retry_after_s == 1


class TestThrottle:
    def test_the_sixth_request_is_a_429_with_retry_after(self, api):
        statuses = [api.get("/limited").status_code for _ in range(6)]
        response = api.get("/limited")
        assert statuses == [200] * 5 + [429]
        assert response.json()["error_code"] == "RATE_LIMITED"
        assert 98 <= int(response.headers["Retry-After"]) <= 100

    def test_addresses_have_a_bucket_each(self, api):
        for _ in range(6):
            api.get("/limited")
        assert api.get("/limited", REMOTE_ADDR="203.0.113.9").status_code == 200

    def test_a_made_up_forwarded_address_does_not_help(self, api):
        for number in range(6):
            response = api.get("/limited", HTTP_X_FORWARDED_FOR=f"203.0.113.{number}")
        assert response.status_code == 429

    def test_nobody_in_particular_is_not_limited(self, api):
        assert {api.get("/free").status_code for _ in range(8)} == {200}


@pytest.mark.usefixtures("no_redis")
class TestWithoutRedis:
    def test_an_ordinary_limit_lets_everybody_through(self):
        decision = take(SLOW, "a")
        assert (decision.allowed, decision.limiter_down) == (True, True)

    def test_a_limit_that_guards_money_lets_nobody_through(self):
        decision = take(MONEY, "a")
        assert (decision.allowed, decision.limiter_down, decision.retry_after_s) == (False, True, 1)

    def test_coroutines_are_told_the_same(self):
        async def both():
            decisions = [await atake(SLOW, "a"), await atake(MONEY, "a")]
            await close_async_redis()
            return decisions

        assert [decision.allowed for decision in asyncio.run(both())] == [True, False]

    def test_the_outside_sees_a_503_from_a_limit_that_guards_money(self, api):
        response = api.get("/money")
        assert (response.status_code, response.json()["error_code"]) == (503, "UNAVAILABLE")
        assert api.get("/limited").status_code == 200

    def test_a_thousand_requests_do_not_queue_for_a_dead_redis(self):
        started = time.monotonic()
        for _ in range(1000):
            take(SLOW, "a")
        assert time.monotonic() - started < 1.0

    def test_it_is_said_once_and_not_for_every_request(self, caplog):
        for _ in range(50):
            take(SLOW, "a")
        assert caplog.text.count("Rate limits are not checked") == 1

    def test_limits_work_again_when_redis_is_back(self, embedded_redis):
        take(SLOW, "a")
        embedded_redis.start()
        redis_pause.end()
        assert [take(SLOW, "a").allowed for _ in range(6)] == [True] * 5 + [False]


class TestHangingRedis:
    @pytest.fixture(autouse=True)
    def _hanging(self, embedded_redis):
        embedded_redis.child.send(signal.SIGSTOP)
        yield
        embedded_redis.child.send(signal.SIGCONT)

    def test_it_costs_a_second_once_and_then_nothing(self):
        started = time.monotonic()
        decisions = [take(SLOW, "a") for _ in range(20)]
        assert all(decision.limiter_down for decision in decisions)
        assert time.monotonic() - started < 2.0

    def test_a_coroutine_waits_no_longer(self):
        async def take_once():
            started = time.monotonic()
            decision = await atake(MONEY, "a")
            waited_s = time.monotonic() - started
            await close_async_redis()
            return decision.allowed, waited_s

        allowed, waited_s = asyncio.run(take_once())
        assert (allowed, waited_s < 2.0) == (False, True)


class TestClients:
    def test_one_client_per_process_and_timeout(self):
        assert sync_redis() is sync_redis()
        assert sync_redis(timeout_s=0.5) is not sync_redis()

    def test_text_comes_back_as_text(self):
        sync_redis().set("mia:test", "ü")
        assert sync_redis().get("mia:test") == "ü"

    def test_timeouts_are_explicit(self):
        arguments = sync_redis().connection_pool.connection_kwargs
        assert (arguments["socket_timeout"], arguments["socket_connect_timeout"]) == (5.0, 2.0)

    def test_each_event_loop_has_a_client_of_its_own(self):
        async def ping_twice():
            assert async_redis() is async_redis()
            assert await async_redis().ping()
            return async_redis()

        assert asyncio.run(ping_twice()) is not asyncio.run(ping_twice())

    def test_a_closed_client_is_replaced(self):
        async def close_and_ping():
            await async_redis().ping()
            await close_async_redis()
            return await async_redis().ping()

        assert asyncio.run(close_and_ping())

    def test_a_restart_of_redis_is_survived_without_an_error(self, embedded_redis):
        assert sync_redis().ping()
        embedded_redis.crash()
        embedded_redis.start()
        assert sync_redis().ping()
