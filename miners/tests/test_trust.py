"""What moves a miner's trust: canaries, forgeries, people."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import limits, trust
from miners.choices import JobState, MinerStatus, Trust
from miners.models import Canary, CanaryTrial, Miner
from miners.services import Failure, Result, accept_result, report_failure
from miners.tests.factories import hold, make_miner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def canary() -> Canary:
    Canary.objects.all().delete()
    return Canary.objects.create(question="When do you open?", facts="We open at NINE.", expected="nine")


def newcomer() -> Miner:
    return make_miner(trust=Trust.PROBATION, trust_changed_at=timezone.now() - timedelta(hours=1))[0]


def try_out(miner: Miner, canary: Canary, answer: str) -> Trust:
    """One canary answered by the miner; its trust afterwards."""
    with platform_scope():
        job = trust.send_canary(miner, canary, now=timezone.now())
    held = hold(job, miner, acked=True)
    accept_result(miner=miner, result=Result(job.pk, answer, fence=held.fence), now=timezone.now())
    return Trust(Miner.objects.get(pk=miner.pk).trust)


def due() -> int:
    with platform_scope():
        return trust.send_due_canaries(now=timezone.now())


def test_five_right_answers_verify_a_newcomer(canary: Canary) -> None:
    miner = newcomer()
    steps = [try_out(miner, canary, "At Nine o'clock.") for _ in range(limits.CANARIES_TO_VERIFY)]
    assert steps == [Trust.PROBATION] * 4 + [Trust.VERIFIED]
    row = Miner.objects.get(pk=miner.pk)
    assert (row.canaries_passed, row.trust_reason) == (5, "5 canaries passed")


def test_a_wrong_answer_keeps_a_newcomer_where_it_is(canary: Canary) -> None:
    miner = newcomer()
    assert try_out(miner, canary, "At ten.") == Trust.PROBATION
    assert [try_out(miner, canary, "Nine.") for _ in range(6)] == [Trust.PROBATION] * 6


@pytest.mark.parametrize("start", [Trust.PROBATION, Trust.VERIFIED, Trust.TRUSTED])
def test_two_wrong_answers_make_a_suspect(canary: Canary, start: Trust) -> None:
    miner = newcomer()
    Miner.objects.filter(pk=miner.pk).update(trust=start)
    assert try_out(miner, canary, "No idea.") == start
    assert try_out(miner, canary, "No idea.") == Trust.SUSPECT


def test_an_engines_failure_is_no_wrong_answer(canary: Canary) -> None:
    miner = newcomer()
    with platform_scope():
        job = trust.send_canary(miner, canary, now=timezone.now())
    held = hold(job, miner, acked=True)
    ended = report_failure(
        miner=miner, job_id=job.pk, fence=held.fence, reason="OOM", failure=Failure.ERROR, now=timezone.now()
    )
    assert ended.state == JobState.FAILED
    with platform_scope():
        assert CanaryTrial.objects.get(job=job).passed is None
    assert Miner.objects.get(pk=miner.pk).canaries_failed == 0


def test_a_banned_miner_stays_banned(canary: Canary) -> None:
    miner = newcomer()
    Miner.objects.filter(pk=miner.pk).update(trust=Trust.BANNED)
    with platform_scope():
        assert [try_out(miner, canary, "No idea.") for _ in range(3)][-1] == Trust.BANNED


def test_people_decide_and_the_count_begins_anew(canary: Canary) -> None:
    miner = newcomer()
    try_out(miner, canary, "No idea.")
    trust.set_trust(miner, Trust.VERIFIED, reason="known machine", now=timezone.now())
    assert try_out(miner, canary, "No idea.") == Trust.VERIFIED


def test_three_forgeries_make_a_suspect() -> None:
    miner = newcomer()
    with platform_scope():
        for known in (True, False, True):
            assert miner.trust == Trust.PROBATION
            trust.note_forgery(miner, job_known=known)
    assert Miner.objects.get(pk=miner.pk).trust == Trust.SUSPECT


def test_each_idle_miner_gets_one_canary_at_a_time(canary: Canary) -> None:
    for _ in range(3):
        newcomer()
    make_miner(status=MinerStatus.BUSY)
    make_miner(last_active=timezone.now() - timedelta(minutes=1))
    assert (due(), due()) == (3, 0)


def test_a_network_that_comes_online_at_once_is_tried_a_few_at_a_time(canary: Canary) -> None:
    miners = [newcomer() for _ in range(limits.CANARIES_AT_ONCE + 2)]
    assert (due(), due(), due()) == (limits.CANARIES_AT_ONCE, 2, 0)
    with platform_scope():
        assert CanaryTrial.objects.values("miner").distinct().count() == len(miners)


def test_newcomers_are_tried_often_and_the_verified_now_and_then(canary: Canary) -> None:
    young, proven = newcomer(), make_miner()[0]
    assert due() == 2
    with platform_scope():
        CanaryTrial.objects.update(created_at=timezone.now() - limits.CANARY_EVERY_IN_PROBATION, passed=True)
        assert trust.send_due_canaries(now=timezone.now()) == 1
        newest = CanaryTrial.objects.latest("created_at")
    assert newest.miner_id == young.pk != proven.pk


def test_without_canaries_nobody_is_tried(canary: Canary) -> None:
    newcomer()
    Canary.objects.update(is_active=False)
    assert due() == 0
