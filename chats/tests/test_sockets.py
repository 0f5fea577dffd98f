"""The sockets: who gets in, what passes between visitors and agents, and what closes them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from accounts.models import Business, JwtIssuer
from accounts.tenancy import platform_scope
from chats.choices import Mode, Role
from chats.models import AgentSeat, Conversation
from chats.tests.callers import Caller, conversation_of, count_rows, job_of, logs_of
from chats.tests.issuers import Dashboard, make_dashboard
from chats.tests.streams import answer, closing, connect, frame, in_thread, run, take_job, write
from chats.tokens import session_token
from mia.lib.drain import drain
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db(transaction=True)

SEED = "/api/chat/ws"
ask = in_thread(Caller.asked)


@pytest.fixture
def dashboard(business: Business) -> Dashboard:
    return make_dashboard(business)


def path_of(reply: dict[str, Any], token: str | None = None) -> str:
    path = f"/ws/chat/{reply['session_id']}/"
    return f"{path}?token={token}" if token else path


def stream_token_of(reply: dict[str, Any]) -> str:
    return reply["stream_url"].partition("stream_token=")[2]


def mode_of(reply: dict[str, Any]) -> str:
    return conversation_of(reply).mode


async def eventually(check: Any, *arguments: Any) -> None:
    async with asyncio.timeout(5):
        while not await in_thread(check)(*arguments):
            await asyncio.sleep(0.05)


def is_ai(reply: dict[str, Any]) -> bool:
    return mode_of(reply) == Mode.AI


# --- Getting in


def test_a_visitor_gets_in_by_the_token_in_the_address(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        for token in (stream_token_of(reply), reply["session_token"]):
            async with connect(path_of(reply, token)) as socket:
                ready = await frame(socket, "ready")
                assert ready == {"type": "ready", "session_id": reply["session_id"], "role": "user"}

    run(scenario)


def test_a_visitor_gets_in_by_a_first_frame(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply)) as socket:
            await socket.send_json_to({"type": "auth", "token": reply["session_token"]})
            await frame(socket, "ready")

    run(scenario)


def test_the_first_protocols_first_frame_is_understood(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(SEED) as socket:
            token = dashboard.user(reply["session_id"])
            await socket.send_json_to({"token": token, "conversation_id": reply["session_id"]})
            assert (await frame(socket, "ready"))["session_id"] == reply["session_id"]

    run(scenario)


def test_a_dashboard_may_name_a_conversation_by_its_own_id(bot: Any, dashboard: Dashboard) -> None:
    async def scenario() -> None:
        for _ in range(2):
            async with connect(SEED) as socket:
                await socket.send_json_to({"token": dashboard.user("crm-17"), "conversation_id": "crm-17"})
                await frame(socket, "ready")

    run(scenario)
    with platform_scope():
        assert [c.external_id for c in Conversation.objects.all()] == ["crm-17"]


@pytest.mark.parametrize("first", ["{", "[]", "5", '"x"', '{"a":1,"a":2}', '{"token": 5}', '{"type": "message"}', "{}"])
def test_a_first_frame_that_is_none_is_refused(visitor: Caller, first: str) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        for path in (path_of(reply), SEED):
            async with connect(path) as socket:
                await socket.send_to(text_data=first)
                code, reason = await closing(socket)
                assert code == 1008
                assert reason

    run(scenario)


def test_bytes_are_refused(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply)) as socket:
            await socket.send_to(bytes_data=b"{}")
            assert await closing(socket) == (1008, "Send text frames.")

    run(scenario)


def test_silence_is_closed_after_five_seconds(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        started = time.monotonic()
        async with connect(path_of(reply)) as socket:
            code, _ = await closing(socket)
        assert code == 1008
        assert 4.5 < time.monotonic() - started < 7

    run(scenario)


def bad_tokens(reply: dict[str, Any], dashboard: Dashboard, stranger: Dashboard, other_id: str) -> dict[str, str]:
    session_id = reply["session_id"]
    conversation = conversation_of(reply)
    return {
        "nothing": "",
        "noise": "x.y.z",
        "another session's": session_token(
            conversation_id=conversation_of({"session_id": other_id}).public_id, business_id=conversation.business_id
        ),
        "an expired one": dashboard.user(session_id, exp=int(time.time()) - 60),
        "one without a type": dashboard.token(conversation_id=session_id),
        "one of a strange type": dashboard.token(type="admin", conversation_id=session_id),
        "one for another conversation": dashboard.user(other_id),
        "a user's without a conversation": dashboard.token(type="user"),
        "one of another business": stranger.agent(session_id),
    }


def test_a_token_that_is_not_for_this_conversation_is_refused(
    visitor: Caller, second_visitor: Caller, dashboard: Dashboard, other_business: Business
) -> None:
    reply, other = visitor.asked(), second_visitor.asked()
    tokens = bad_tokens(reply, dashboard, make_dashboard(other_business), other["session_id"])
    before = count_rows()

    async def scenario() -> None:
        for name, token in tokens.items():
            async with connect(path_of(reply)) as socket:
                await socket.send_json_to({"type": "auth", "token": token})
                code, reason = await closing(socket)
                assert (code, bool(reason)) == (1008, True), name

    run(scenario)
    assert count_rows() == before


def test_a_foreign_page_may_not_use_a_visitors_token(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, reply["session_token"]), origin="https://evil.example") as socket:
            assert (await closing(socket))[0] == 1008
        async with connect(path_of(reply, reply["session_token"]), origin="https://shop.example") as socket:
            await frame(socket, "ready")

    run(scenario)


# --- Talking


def test_a_question_on_the_socket_is_answered_on_the_socket(visitor: Caller) -> None:
    reply = visitor.asked()
    miner, key = make_miner()

    async def scenario() -> None:
        await answer(miner, await take_job(key), "Hello.")
        async with connect(path_of(reply, reply["session_token"])) as socket:
            await frame(socket, "ready")
            await socket.send_json_to({"type": "message", "message": "Und ein Schlauch?"})
            queued = await frame(socket, "queued")
            offer = await take_job(key)
            assert offer["job_id"] == queued["job_id"]
            await write(key, offer, "Zehn ", "Franken.")
            assert [(await frame(socket, "delta"))["text"] for _ in range(2)] == ["Zehn ", "Franken."]
            await answer(miner, offer, "Zehn Franken.")
            done = await frame(socket, "done")
            assert (done["job_id"], done["status"]) == (offer["job_id"], "completed")

    run(scenario)
    assert [log.message for log in logs_of(reply)][-2:] == ["Und ein Schlauch?", "Zehn Franken."]


def test_an_agent_joins_talks_and_leaves(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, reply["session_token"])) as guest:
            await frame(guest, "ready")
            async with connect(SEED) as agent:
                token = dashboard.agent(reply["session_id"])
                await agent.send_json_to({"token": token, "conversation_id": reply["session_id"]})
                assert (await frame(agent, "ready"))["role"] == "agent"
                assert (await frame(guest, "mode")) == {"type": "mode", "mode": "ai"}
                assert (await frame(guest, "mode")) == {"type": "mode", "mode": "human"}
                await agent.send_json_to({"type": "typing"})
                assert await frame(guest, "typing") == {"type": "typing", "role": "agent"}
                await agent.send_json_to({"type": "message", "message": "Bob hier."})
                heard = await frame(guest, "message")
                assert (heard["role"], heard["content"], heard["name"]) == ("agent", "Bob hier.", "Bob")
                await guest.send_json_to({"type": "message", "message": "Endlich ein Mensch!"})
                while (heard := await frame(agent, "message"))["role"] != "user":
                    pass
                assert heard["content"] == "Endlich ein Mensch!"
            assert await frame(guest, "mode") == {"type": "mode", "mode": "ai"}
        await eventually(is_ai, reply)

    run(scenario)
    assert [log.role for log in logs_of(reply)] == [Role.USER, Role.SYSTEM, Role.AGENT, Role.USER]


def test_taking_over_stops_the_answer_that_is_being_written(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()
    _, key = make_miner()

    async def scenario() -> None:
        offer = await take_job(key)
        await write(key, offer, "Ich ")
        async with connect(path_of(reply, dashboard.agent(reply["session_id"]))) as agent:
            await frame(agent, "ready")
            assert (await in_thread(job_of)(reply)).state == "cancelled"

    run(scenario)
    assert Role.ASSISTANT not in {log.role for log in logs_of(reply)}


def test_the_ai_answers_again_only_after_the_last_agent_left(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        token = dashboard.agent(reply["session_id"])
        async with connect(path_of(reply, token)) as first:
            await frame(first, "ready")
            async with connect(path_of(reply, token)) as second:
                await frame(second, "ready")
            await asyncio.sleep(0.3)
            assert await in_thread(mode_of)(reply) == Mode.HUMAN
        await eventually(is_ai, reply)

    run(scenario)
    with platform_scope():
        assert not AgentSeat.objects.exists()


def test_many_sockets_follow_and_none_replaces_another(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        token = reply["session_token"]
        agents = dashboard.agent(reply["session_id"])
        paths = (path_of(reply, token), path_of(reply, token), path_of(reply, agents))
        async with connect(paths[0]) as tab, connect(paths[1]) as other_tab, connect(paths[2]) as agent:
            for socket in (tab, other_tab, agent):
                await frame(socket, "ready")
            await agent.send_json_to({"message": "An alle."})
            for socket in (tab, other_tab, agent):
                assert (await frame(socket, "message"))["content"] == "An alle."

    run(scenario)


def test_frames_are_built_anew_and_never_passed_on(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, dashboard.agent(reply["session_id"]))) as agent:
            await frame(agent, "ready")
            async with connect(path_of(reply, reply["session_token"])) as guest:
                await frame(guest, "ready")
                forged = {"type": "message", "message": "Hi", "role": "agent", "name": "Bob", "from": "system", "id": 1}
                await guest.send_json_to(forged)
                heard = await frame(agent, "message")
        assert set(heard) == {"type", "id", "role", "content", "name", "created_at", "job_id"}
        assert (heard["role"], heard["name"]) == ("user", "")

    run(scenario)


def test_a_visitor_cancels_his_own_job_only(visitor: Caller, second_visitor: Caller) -> None:
    reply, other = visitor.asked(), second_visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, reply["session_token"])) as socket:
            await frame(socket, "ready")
            await socket.send_json_to({"type": "cancel", "job_id": other["job_id"]})
            assert (await frame(socket, "error"))["error_code"] == "NOT_FOUND"
            await socket.send_json_to({"type": "cancel", "job_id": reply["job_id"]})
            assert (await frame(socket, "done"))["status"] == "cancelled"

    run(scenario)
    assert job_of(other).state == "queued"


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "message"},
        {"type": "message", "message": ""},
        {"type": "message", "message": 5},
        {"type": "message", "message": "x" * 8001},
        {"type": "dance"},
        {"type": None},
        {"type": ["message"]},
        {"type": "cancel"},
        {"type": "cancel", "job_id": "x"},
    ],
)
def test_a_frame_that_makes_no_sense_is_answered_and_the_socket_stays(visitor: Caller, sent: dict[str, Any]) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, reply["session_token"])) as socket:
            await frame(socket, "ready")
            await socket.send_json_to(sent)
            error = await frame(socket, "error")
            assert error["error_code"] == "INVALID_REQUEST"
            assert error["timestamp"].endswith("Z")
            await socket.send_json_to({"type": "ping"})
            await frame(socket, "pong")

    run(scenario)


@pytest.mark.parametrize(
    "sent", ["{", "[1]", "null", '{"message": "\\u0000"}', "x" * 33_000, json.dumps({"a": "é" * 20_000})]
)
def test_a_frame_that_is_none_closes_the_socket(visitor: Caller, sent: str) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, reply["session_token"])) as socket:
            await frame(socket, "ready")
            await socket.send_to(text_data=sent)
            code, reason = await closing(socket)
            assert (code, bool(reason)) == (1008, True)

    run(scenario)


def test_too_many_messages_are_refused(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, reply["session_token"])) as socket:
            await frame(socket, "ready")
            for _ in range(8):
                await socket.send_json_to({"message": "Hallo?"})
            error = await frame(socket, "error")
            assert error["error_code"] == "RATE_LIMITED"
            assert error["retry_after"] >= 1

    run(scenario)


# --- Going


def test_a_socket_ends_with_its_token(visitor: Caller, dashboard: Dashboard) -> None:
    reply = visitor.asked()
    token = dashboard.user(reply["session_id"], exp=int(time.time()) + 2)

    async def scenario() -> None:
        async with connect(path_of(reply, token)) as socket:
            await frame(socket, "ready")
            assert await closing(socket) == (1008, "The token has expired.")

    run(scenario)


def test_a_socket_ends_when_its_issuer_is_shut_out(
    visitor: Caller, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chats.sockets.RECHECK_S", 0.3)
    reply = visitor.asked()

    def shut_out() -> None:
        with platform_scope():
            JwtIssuer.objects.update(active=False)

    async def scenario() -> None:
        async with connect(path_of(reply, dashboard.user(reply["session_id"]))) as socket:
            await frame(socket, "ready")
            await in_thread(shut_out)()
            assert (await closing(socket))[0] == 1008

    run(scenario)


def test_a_process_that_stops_says_so_and_keeps_the_agents_seat(
    visitor: Caller, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with connect(path_of(reply, dashboard.agent(reply["session_id"]))) as agent:
            await frame(agent, "ready")
            await frame(agent, "mode")
            drain.begin()
            try:
                assert (await closing(agent))[0] == 1012
            finally:
                await asyncio.sleep(0.1)
                drain.is_draining = False

    run(scenario)
    assert mode_of(reply) == Mode.HUMAN
