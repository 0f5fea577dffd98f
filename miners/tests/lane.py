"""A client for the hot lane: calls the native endpoints as an ASGI server would."""

import asyncio
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mia.lib.database import close_pool
from mia.lib.redis import close_async_redis
from miners import profiles
from miners.consumers import Chunks, ClaimJob, Heartbeat, NextJob
from miners.handoff import close_handoff
from miners.hub import close_hub

ENDPOINTS: dict[str, Any] = {
    "/job/next": NextJob,
    "/job/claim": ClaimJob,
    "/heartbeat": Heartbeat,
    "/job/chunks": Chunks,
}


@dataclass
class Answer:
    """A whole response."""

    status: int
    headers: dict[str, str]
    data: dict[str, Any]


class Lane:
    """One miner's connection to the platform."""

    def __init__(self, key: str) -> None:
        self.key = key

    async def get(self, path: str, query: str = "", **headers: str) -> Answer:
        return await call(path, "GET", b"", query, self._headers(headers))

    async def post(self, path: str, data: Any, **headers: str) -> Answer:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return await call(path, "POST", body, "", self._headers(headers))

    async def next(self, wait: float = 0, slots: int = 1, **headers: str) -> list[dict[str, Any]]:
        answer = await self.get("/job/next", f"wait={wait}&slots={slots}", **headers)
        assert answer.status == 200, answer
        return answer.data["jobs"]

    async def beat(self, *jobs: tuple[str, str, str], status: str = "busy") -> list[str]:
        """Verdicts of a heartbeat for (job_id, fence, phase)."""
        said = [{"job_id": job, "fence": fence, "phase": phase, "tokens": 0} for job, fence, phase in jobs]
        answer = await self.post("/heartbeat", {"status": status, "slots_free": 0, "jobs": said})
        assert answer.status == 200, answer
        verdicts = {row["job_id"]: row["verdict"] for row in answer.data["jobs"]}
        return [verdicts[job] for job, _, _ in jobs]

    async def chunk(self, job: dict[str, Any], offset: int, text: str) -> dict[str, Any]:
        piece = {"job_id": job["job_id"], "fence": job["fence"], "offset": offset, "text": text, "tokens": 1}
        answer = await self.post("/job/chunks", {"jobs": [piece]})
        assert answer.status == 200, answer
        return answer.data["jobs"][0]

    def _headers(self, extra: dict[str, str]) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", **{name.replace("_", "-"): v for name, v in extra.items()}}


async def call(path: str, method: str, body: bytes, query: str, headers: dict[str, str]) -> Answer:
    sent: list[dict[str, Any]] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await ENDPOINTS[path].as_asgi()(scope, inbox.get, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    decoded = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], decoded, json.loads(content))


@asynccontextmanager
async def platform() -> Any:
    """The hot lane's resources of this event loop, given back at the end."""
    profiles.forget_all()
    try:
        yield
    finally:
        await close_handoff()
        await close_hub()
        await close_pool()
        await close_async_redis()


def run(scenario: Callable[[], Any]) -> Any:
    """Runs an asynchronous scenario on the hot lane, from a synchronous test."""

    async def inside() -> Any:
        async with platform():
            return await asyncio.wait_for(scenario(), 60)

    return asyncio.run(inside())
