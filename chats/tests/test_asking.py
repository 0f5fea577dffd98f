"""POST /chat: what a message leads to."""

from __future__ import annotations

import pytest

from chats.choices import Role
from chats.tests.callers import Caller, conversation_of, job_of, logs_of
from miners.choices import JobState, Lane

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_question_becomes_a_job_and_a_chat_log(visitor: Caller) -> None:
    reply = visitor.asked("Was kostet ein Reifen?")
    job, (log,) = job_of(reply), logs_of(reply)
    assert (job.state, job.lane, job.topic) == (JobState.QUEUED, Lane.CHAT, f"conversation:{reply['session_id']}")
    assert (log.role, log.message, log.job_id) == (Role.USER, "Was kostet ein Reifen?", job.pk)
    assert conversation_of(reply).snippet == "Was kostet ein Reifen?"


def test_the_reply_has_the_shape_that_clients_of_the_first_protocol_expect(visitor: Caller) -> None:
    reply = visitor.asked()
    assert (reply["status"], reply["message"], reply["response"]) == ("queued", "Job queued successfully", None)
    assert (reply["tool_calls"], reply["citations"], reply["position"]) == (None, [], 1)
    assert reply["poll_url"] == f"/job/{reply['job_id']}/result"
    assert reply["stream_url"].startswith(f"/chat/{reply['session_id']}/events?stream_token=")
