"""POST /chat: what a message leads to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import Business
from accounts.tenancy import platform_scope
from accounts.tests.factories import ApiKeyFactory
from chats import handoffs
from chats.choices import Mode, Role, Status
from chats.models import Bot, Conversation
from chats.tests.callers import Caller, conversation_of, count_rows, job_of, logs_of
from chats.tests.factories import BotFactory
from miners.choices import JobState, Lane, Trust

pytestmark = pytest.mark.django_db

TOOL = {"type": "function", "function": {"name": "get_order", "parameters": {"type": "object", "properties": {}}}}


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


def test_a_second_question_continues_the_conversation(visitor: Caller) -> None:
    first, second = visitor.asked("Was kostet ein Reifen?"), visitor.asked("Und ein Schlauch?")
    assert first["session_id"] == second["session_id"]
    words = [message["content"] for message in job_of(second).messages if message["role"] == "user"]
    assert words == ["Was kostet ein Reifen?", "Und ein Schlauch?"]


def test_the_bots_limits_hold_where_the_question_names_none(server: Caller, bot: Bot) -> None:
    job = job_of(server.asked())
    assert job.params == {"max_tokens": bot.max_tokens, "temperature": bot.temperature}
    job = job_of(server.asked(max_tokens=64, temperature=0))
    assert (job.max_tokens, job.params) == (64, {"max_tokens": 64, "temperature": 0.0})


def test_the_trust_that_the_business_demands_goes_with_the_job(server: Caller, business: Business) -> None:
    with platform_scope():
        Business.objects.update(min_trust=Trust.TRUSTED)
    assert job_of(server.asked()).min_trust == Trust.TRUSTED


def test_context_of_the_request_is_among_the_facts(server: Caller) -> None:
    job = job_of(server.asked(context="Order 17 left yesterday."))
    assert "<facts>\nOrder 17 left yesterday.\n</facts>" in job.messages[0]["content"]


def test_no_prompt_names_the_business_or_the_visitor(visitor: Caller, business: Business) -> None:
    first = visitor.asked()
    contact = {"name": "Zoë Visitor", "email": "zoe@visitor.example"}
    assert visitor.post(visitor.in_session("lead"), contact).status_code == 200
    job = job_of(visitor.asked("And now?"))
    sent = json.dumps([job.messages, job.params, job.prefix_key])
    for secret in ("Zoë", "zoe@visitor.example", business.contact_email, first["session_id"]):
        assert secret not in sent


def test_tools_are_passed_through(server: Caller) -> None:
    job = job_of(server.asked(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_order"}}))
    assert job.tools[0]["function"]["name"] == "get_order"
    assert job.tool_choice == {"type": "function", "function": {"name": "get_order"}}
    assert job.features == ["tools"]


def answer_with_tool_call(reply: dict[str, Any]) -> None:
    from chats.tests.factories import ChatLogFactory

    call = {"id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": "{}"}}
    ChatLogFactory(conversation=conversation_of(reply), role=Role.ASSISTANT, message="", tool_calls=[call])


def test_the_result_of_a_tool_follows_its_call(server: Caller) -> None:
    answer_with_tool_call(server.asked("Where is order 17?", tools=[TOOL]))
    body = {"session_id": server.session_id, "tool_results": [{"tool_call_id": "call_1", "content": '{"at": "Bern"}'}]}
    reply = server.post("/chat", body).json()
    roles = [message["role"] for message in job_of(reply).messages]
    assert roles == ["system", "user", "assistant", "tool"]
    assert job_of(reply).messages[-1] == {"role": "tool", "content": '{"at": "Bern"}', "tool_call_id": "call_1"}
    assert [log.role for log in logs_of(reply)] == [Role.USER, Role.ASSISTANT, Role.TOOL]


def test_results_of_calls_that_nobody_made_are_refused(server: Caller) -> None:
    server.asked()
    before = count_rows()
    response = server.ask("", tool_results=[{"tool_call_id": "call_9", "content": "x"}])
    assert response.status_code == 400, response.content
    assert count_rows() == before


def test_the_default_bot_answers_unless_another_is_named(server: Caller, bot: Bot, business: Business) -> None:
    second = BotFactory(business=business, name="Second")
    assert conversation_of(server.asked()).bot_id == bot.pk
    server.session_id = None
    assert conversation_of(server.asked(bot_id=second.pk)).bot_id == second.pk


def test_a_widget_key_that_a_bot_claims_reaches_that_bot_alone(visitor: Caller, bot: Bot, business: Business) -> None:
    with platform_scope():
        own_key = ApiKeyFactory(business=business, kind="publishable")
        own_bot = BotFactory(business=business, name="Own", widget_key=own_key)
    own_visitor = Caller(own_key.plain, origin="https://shop.example")
    assert conversation_of(own_visitor.asked()).bot_id == own_bot.pk
    assert Caller(own_key.plain, origin="https://shop.example").ask(bot_id=bot.pk).status_code == 404
    assert visitor.ask(bot_id=own_bot.pk).status_code == 404


def test_an_inactive_bot_answers_nobody(server: Caller, bot: Bot) -> None:
    with platform_scope():
        Bot.objects.update(is_active=False)
    assert server.ask().status_code == 404


def test_while_a_human_answers_no_job_is_made(visitor: Caller) -> None:
    first = visitor.asked()
    with platform_scope():
        conversation = Conversation.objects.get()
        conversation.mode = Mode.HUMAN
        conversation.assignee_id = None
        conversation.save()
        handoffs.AgentSeat.objects.create(business=conversation.business, conversation=conversation)
    reply = visitor.asked("Are you human?")
    assert (reply["job_id"], reply["status"], reply["mode"]) == (None, "delivered", "human")
    assert logs_of(first)[-1].message == "Are you human?"


def test_a_resolved_conversation_opens_again_with_a_question(visitor: Caller) -> None:
    reply = visitor.asked()
    with platform_scope():
        Conversation.objects.update(status=Status.RESOLVED)
    visitor.asked()
    assert conversation_of(reply).status == Status.OPEN


def test_the_sessions_token_may_come_in_the_body(visitor: Caller) -> None:
    visitor.asked()
    token, visitor.token = visitor.token, None
    assert visitor.ask(session_token=token).status_code == 200


def test_a_prompt_that_cannot_fit_the_bots_model_is_refused(server: Caller) -> None:
    with platform_scope():
        Bot.objects.update(max_context_tokens=600, max_tokens=500)
    response = server.ask("x" * 4000)
    assert (response.status_code, list(response.json()["detail"])) == (400, ["message"])
