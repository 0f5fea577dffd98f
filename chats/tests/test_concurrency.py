"""Many at once in one conversation: nobody waits for another in a circle, and nothing is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, Business, User
from accounts.tenancy import business_scope, platform_scope
from chats import handoffs
from chats.choices import Mode, Role
from chats.models import ChatLog, Conversation, Feedback
from chats.tests.callers import Caller, conversation_of
from chats.tests.factories import ChatLogFactory
from miners.choices import JobState
from miners.models import Attempt, Job
from miners.results import Result, accept_result
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_pause_between_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The visitor's own speed limit is tested elsewhere."""
    monkeypatch.setattr("chats.admission.check_visitor", lambda visitor: None)


def at_once(function: Callable[[Any], Any], arguments: Iterable[Any], threads: int = 8) -> list[Any]:
    def run(argument: Any) -> Any:
        try:
            return function(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, arguments))


def hold(job_id: str, fence: int, miner: Any) -> None:
    """Puts a job into a miner's hands."""
    now = timezone.now()
    with platform_scope():
        Job.objects.filter(pk=job_id).update(
            state=JobState.RUNNING, miner=miner, fence=fence, lease_until=now, started_at=now
        )
        Attempt.objects.create(fence=fence, job_id=job_id, miner=miner, number=1, offered_at=now)


def test_questions_and_answers_cross_without_waiting_for_each_other(server: Caller) -> None:
    miner, _ = make_miner()
    first = server.asked()
    jobs = [server.asked(f"Question {number}")["job_id"] for number in range(12)]
    for fence, job_id in enumerate(jobs, start=1):
        hold(job_id, fence, miner)

    def act(number: int) -> int:
        if number % 2:
            result = Result(job_id=uuid.UUID(jobs[number // 2]), fence=number // 2 + 1, output=f"Answer {number}")
            accept_result(miner=miner, result=result, now=timezone.now())
            return 200
        return Caller(server.key, session_id=server.session_id).ask(f"More {number}").status_code

    assert set(at_once(act, range(24))) == {200}
    with platform_scope():
        logs = ChatLog.objects.filter(conversation__public_id=first["session_id"])
        assert logs.filter(role=Role.ASSISTANT).count() == 12
        assert logs.filter(role=Role.USER).count() == 1 + 12 + 12


def test_an_agent_who_sits_down_while_visitors_ask_leaves_no_job_alive(
    server: Caller, secret_key: ApiKey, business: Business, bob: User
) -> None:
    reply = server.asked()
    conversation = conversation_of(reply)

    def act(number: int) -> str:
        if number == 4:
            with business_scope(business.pk):
                handoffs.take_seat(conversation, socket_id=uuid.uuid4(), name="Bob", now=timezone.now())
            return "seat"
        return Caller(server.key, session_id=server.session_id).asked(f"Question {number}")["status"]

    outcomes = at_once(act, range(12), threads=4)
    outcomes.append(act(12))
    assert outcomes[-1] == "delivered"
    with platform_scope():
        assert Conversation.objects.get().mode == Mode.HUMAN
        asked = ChatLog.objects.filter(role=Role.USER)
        assert asked.count() == 13
        assert not Job.objects.live().exists()
        assert asked.filter(job=None).count() == outcomes.count("delivered")


def test_one_answer_has_one_thumb_however_often_it_is_pressed(server: Caller) -> None:
    conversation = conversation_of(server.asked())
    answer_id = ChatLogFactory(conversation=conversation, answer=True).pk

    def press(number: int) -> int:
        body = {"message_id": answer_id, "feedback": "positive" if number % 2 else "negative"}
        same = Caller(server.key, session_id=server.session_id)
        return same.post(same.in_session("feedback"), body).status_code

    assert set(at_once(press, range(16))) == {200}
    with platform_scope():
        assert Feedback.objects.count() == 1


def test_stars_and_wishes_at_once_are_kept_once(server: Caller) -> None:
    server.asked()

    def act(number: int) -> int:
        same = Caller(server.key, session_id=server.session_id)
        if number % 2:
            return same.post(same.in_session("csat"), {"score": 1 + number % 5}).status_code
        return same.post(same.in_session("handoff")).status_code

    assert set(at_once(act, range(16))) == {200}
    with platform_scope():
        conversation = Conversation.objects.get()
        assert conversation.rating.score in range(1, 6)
        assert conversation.chat_logs.filter(role=Role.SYSTEM).count() == 1


def test_a_new_id_of_a_dashboard_makes_one_conversation(bot: Any, business: Business) -> None:
    from chats import attendance
    from chats.tests.issuers import make_dashboard

    token = make_dashboard(business).user("crm-1")
    seats = at_once(lambda _: attendance.attend(token=token, identifier="crm-1", now=timezone.now()), range(12))
    assert len({seat.shown.conversation_id for seat in seats}) == 1
    with platform_scope():
        assert Conversation.objects.count() == 1
