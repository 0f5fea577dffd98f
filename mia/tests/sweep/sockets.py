"""Every socket and every message that it takes, by everybody, towards the conversations of others."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from chats.models import Conversation
from chats.sockets import ChatSocket
from mia.lib.redis import sync_redis
from mia.routing import socket_urlpatterns
from mia.tests.sweep.asgi import HOST, Heard, talk
from mia.tests.sweep.identities import Identity, cookie, identities, ids_of, link_names
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.world import FOREIGN_ORIGIN, ORIGIN, Owner, World
from miners.leader import SNAPSHOT_KEY
from miners.streams import publish

CHAT: Final = "ws/chat/<uuid:session_id>/"
SEED: Final = "api/chat/ws"
NETWORK: Final = "ws/network/"
REFUSED: Final = 1008
FROM_THE_SHOP: Final = {"Origin": ORIGIN}
OWN_PAGE: Final = f"http://{HOST}"

Frame = dict[str, Any]


def socket_routes() -> set[str]:
    return {str(pattern.pattern) for pattern in socket_urlpatterns}


def message_kinds() -> set[str]:
    """The types of frames that a conversation's socket tells apart, read from its code."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(ChatSocket._act)))
    cases = [node.pattern for node in ast.walk(tree) if isinstance(node, ast.match_case)]
    return {
        str(case.value.value)
        for case in cases
        if isinstance(case, ast.MatchValue) and isinstance(case.value, ast.Constant)
    }


@dataclass(frozen=True)
class Ticket:
    """A token that somebody brings, and whether it is good for A's own conversation."""

    who: str
    token: str
    opens_own: bool = False


class SocketSweep:
    """`routes` and `kinds` are what was tried."""

    def __init__(self, world: World, judge: Judge) -> None:
        self.world = world
        self.judge = judge
        self.people = identities(world)
        self.routes: set[str] = set()
        self.kinds: set[str] = set()

    async def run(self) -> None:
        await self.knock_everywhere()
        await asyncio.gather(*(self.speak(ticket) for ticket in self.tickets() if ticket.opens_own))
        self.judge.look_at_rows("sockets that spoke about strangers")
        await self.overhear()
        await self.watch()
        self.judge.look_at_rows("sockets")

    async def knock_everywhere(self, people: Iterable[str] = ()) -> None:
        chosen = set(people)
        tickets = [ticket for ticket in self.tickets() if not chosen or ticket.who in chosen]
        await asyncio.gather(*(self.knock(ticket) for ticket in tickets))
        self.judge.look_at_rows("sockets towards strangers")

    async def watch(self) -> None:
        await asyncio.gather(*(self.watch_network(identity) for identity in self.people.values()))
        await self.check_the_network_can_be_watched()

    def tickets(self) -> list[Ticket]:
        world, dashboard = self.world, self.world.dashboard
        session, b = world.a.session_id, world.b
        return [
            Ticket("visitor", world.session_token(world.a), opens_own=True),
            Ticket("visitor", world.stream_token(world.a), opens_own=True),
            Ticket("dashboard's visitor", dashboard.user(session), opens_own=True),
            Ticket("dashboard's agent", dashboard.agent(session), opens_own=True),
            Ticket("dashboard", dashboard.token()),
            Ticket("dashboard that names B", dashboard.agent(b.session_id, organization_id=b.business.pk)),
            *(Ticket("visitor", key) for key in world.keys.values()),
            Ticket("miner", world.miner_key),
            Ticket("anonymous", "nonsense"),
        ]

    # --- Towards strangers

    async def knock(self, ticket: Ticket) -> None:
        """With a token to every conversation that it is not for, in each of the ways to bring it."""
        ways = [(owner, *way) for owner in (self.world.b, self.world.v) for way in self.ways_in(ticket.token, owner)]
        await asyncio.gather(*(self.knock_once(ticket, *way) for way in ways))

    async def knock_once(self, ticket: Ticket, owner: Owner, what: str, path: str, frames: list[Frame]) -> None:
        heard = await talk(path, *frames, *self.messages(owner), headers=FROM_THE_SHOP)
        what = f"{ticket.who}: {what} of {owner.letter}"
        self.read(what, heard, ticket.who, sent=json.dumps(frames))
        if heard.closed is None or heard.closed[0] != REFUSED:
            self.judge.find(what, f"was let in: {heard.kinds}")

    def ways_in(self, token: str, owner: Owner) -> Iterable[tuple[str, str, list[Frame]]]:
        self.routes |= {CHAT, SEED}
        self.kinds.add("auth")
        session = owner.session_id
        yield "socket by address", f"/ws/chat/{session}/?token={token}", []
        yield "socket by frame", f"/ws/chat/{session}/", [{"type": "auth", "token": token}]
        yield "first protocol's socket", "/api/chat/ws", [{"token": token, "conversation_id": str(session)}]
        named = owner[Conversation].external_id
        yield "first protocol's socket by name", "/api/chat/ws", [{"token": token, "conversation_id": named}]

    # --- In the own conversation, about strangers

    async def speak(self, ticket: Ticket) -> None:
        """Each kind of message, with strangers' ids wherever one could stand; and one that does not exist."""
        path = f"/ws/chat/{self.world.a.session_id}/?token={ticket.token}"
        for owner in (self.world.b, self.world.v):
            frames = self.messages(owner)
            heard = await talk(path, *frames, headers=FROM_THE_SHOP)
            what = f"{ticket.who}: messages about {owner.letter}"
            self.read(what, heard, ticket.who, sent=json.dumps(frames))
            if "ready" not in heard.kinds:
                self.judge.find(what, f"was not let into its own: {heard.closed}")
            codes = [frame["error_code"] for frame in heard.frames if frame.get("type") == "error"]
            if "NOT_FOUND" not in codes:
                self.judge.find(what, f"its cancellation of a stranger's job was not refused: {codes}")

    def messages(self, owner: Owner) -> list[Frame]:
        named = {**link_names(owner), **ids_of(owner)}
        frames = [{**named, "type": kind} for kind in sorted(message_kinds())]
        self.kinds |= message_kinds()
        return [{**frame, "message": "What does a tyre cost?"} for frame in frames]

    async def overhear(self) -> None:
        """What is said in other conversations meanwhile is not heard."""
        ticket = self.tickets()[0]
        path = f"/ws/chat/{self.world.a.session_id}/?token={ticket.token}"
        listening = asyncio.create_task(talk(path, headers=FROM_THE_SHOP, quiet_s=1.0))
        await asyncio.sleep(0.4)
        for owner in (self.world.b, self.world.v):
            event = {"type": "message", "id": 1, "role": "agent", "content": f"CANARY-{owner.letter}-said", "name": "x"}
            await asyncio.to_thread(publish, f"conversation:{owner.session_id}", event)
        self.read("visitor: what others say", await listening, ticket.who)

    # --- The network

    async def watch_network(self, identity: Identity) -> None:
        """The platform's own socket: not for a business's staff, not for other pages, whatever they bring."""
        self.routes.add(NETWORK)
        sync_redis().set(SNAPSHOT_KEY, json.dumps({"miners": ["CANARY-M-snapshot"]}))
        bearer = identity.headers.get("Authorization", "").removeprefix("Bearer ")
        for origin in (OWN_PAGE, FOREIGN_ORIGIN):
            heard = await talk(
                f"/ws/network/?token={bearer}", {"type": "snapshot"}, headers={**identity.headers, "Origin": origin}
            )
            self.read(f"{identity.name}: network from {origin}", heard, identity.name)
            if heard.closed is None or heard.closed[0] != REFUSED:
                self.judge.find(f"{identity.name}: network from {origin}", "was let in")

    async def check_the_network_can_be_watched(self) -> None:
        """By platform staff, from the admin's own page and from no other."""
        headers = cookie(self.world, "root")
        heard = await talk("/ws/network/", headers={**headers, "Origin": OWN_PAGE})
        if heard.closed is not None:
            self.judge.find("platform staff: network", f"was not let in: {heard.closed}")
        heard = await talk("/ws/network/", headers={**headers, "Origin": FOREIGN_ORIGIN})
        if heard.closed is None or heard.closed[0] != REFUSED or heard.frames:
            self.judge.find("platform staff: network from another page", "was let in")

    def read(self, what: str, heard: Heard, who: str, sent: str = "") -> None:
        self.judge.read(what, heard.text, self.people[who], sent=sent)
