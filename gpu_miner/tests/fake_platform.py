"""A small MIA platform in this process: it speaks the miner protocol over real HTTP and misbehaves on demand."""

import hashlib
import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

Json = dict[str, Any]


@dataclass
class Fault:
    """What to do with one request instead of answering it: a status, a lost request, or a lost reply."""

    status: int = 0
    lose: str = ""  # "request": cut before it is handled; "reply": handled, then cut
    body: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay_s: float = 0.0


@dataclass
class FakeJob:
    """One job and all that the miner said about it."""

    job_id: str
    fence: str
    offer: Json
    state: str = "queued"
    text: str = ""
    first_chunk_offset: int | None = None
    chunk_posts: int = 0
    tokens: int = 0
    tool_deltas: list[Json] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    result: Json | None = None
    results_seen: int = 0
    verdict: str = ""
    mute: bool = False
    handed_back: list[str] = field(default_factory=list)


class FakePlatform:
    """The server; tests read and change it under `lock`, or through the methods, which take it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.seen: list[tuple[str, Json, dict[str, str]]] = []
        self.jobs: dict[str, FakeJob] = {}
        self.miners: dict[str, Json] = {}
        self.config: Json = {"poll_wait_ms": 300, "flush_ms": 20, "heartbeat_ms": 100, "offer_ms": 2000}
        self.news: Json = {}
        self.heartbeat_news: Json = {}
        self.polls: dict[str, list[str]] = {}
        self.statuses: list[str] = []
        self.token = ""
        self.earnings_usd: str | None = None
        self.fences = 100
        self.hold_acks = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # --- what tests do

    def ask(self, question: str, **offer: Any) -> FakeJob:
        with self.changed:
            self.fences += 1
            job_id = str(uuid4())
            message = {"role": "user", "content": question}
            body = {"job_id": job_id, "attempt": 1, "fence": str(self.fences), "kind": "chat", "messages": [message]}
            defaults = {"offer_ms": 2000, "deadline_ms": 60000, "params": {"max_tokens": 9999}, "session_id": "s-1"}
            job = FakeJob(job_id, str(self.fences), {**body, **defaults, **offer})
            self.jobs[job_id] = job
            self.changed.notify_all()
        return job

    def fail(self, path: str, *faults: Fault) -> None:
        with self.lock:
            self.faults[path].extend(faults)

    def set(self, **values: Any) -> None:
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def wait(self, happened: Callable[[], Any], timeout_s: float = 8.0) -> None:
        """Until it has happened; fails the test when it has not in time."""
        with self.changed:
            assert self.changed.wait_for(happened, timeout_s), self.story()

    def bodies(self, path: str) -> list[Json]:
        with self.lock:
            return [body for seen, body, _ in self.seen if seen == path]

    def headers(self, path: str) -> list[dict[str, str]]:
        with self.lock:
            return [headers for seen, _, headers in self.seen if seen == path]

    def story(self) -> str:
        return json.dumps([job.__dict__ for job in self.jobs.values()], indent=1, default=str)[:3000]

    # --- what the platform does

    def register(self, body: Json, key: str) -> tuple[int, Json]:
        name = body.get("name", "")
        if self.token and body.get("enrolment_token") != self.token and not key:
            return 403, _error("FORBIDDEN", "an enrolment token is needed")
        known = self.miners.get(name)
        if known and known["auth_key"] != key:
            return 409, _error("CONFLICT", "this name is taken")
        reply = {"message": "ok", "state": "verified", "config": self.config}
        if known:
            return 200, {**reply, "miner_id": known["miner_id"]}
        if key:
            return 401, _error("NOT_AUTHENTICATED", "unknown key")
        self.miners[name] = {"miner_id": str(len(self.miners) + 1), "auth_key": f"mia_mk_{uuid4().hex}", "body": body}
        return 201, {**reply, **{k: self.miners[name][k] for k in ("miner_id", "auth_key")}}

    def next_jobs(self, query: dict[str, str], poll_id: str) -> tuple[int, Json]:
        offers = self._repeated(poll_id) or self._claim(query, poll_id)
        deadline = time.monotonic() + min(float(query.get("wait", "0")), 0.4)
        while not offers and (left := deadline - time.monotonic()) > 0:
            offers = self._claim(query, poll_id)
            if not offers:
                self.changed.wait(left)
        body: Json = {
            "jobs": [job.offer for job in offers],
            "cancel": [],
            "drain": False,
            "messages": [],
            "config": None,
        }
        body.update(self.news)
        return 200, {"job_id": offers[0].job_id if offers else None, "message": "Job", **body}

    def heartbeat(self, body: Json) -> tuple[int, Json]:
        self.statuses.append(body["status"])
        verdicts = [self._verdict(entry) for entry in body["jobs"]]
        return 200, {"status": "ok", "jobs": verdicts, "drain": False, "config": None, **self.heartbeat_news}

    def chunks(self, body: Json) -> tuple[int, Json]:
        verdicts = [self._take_chunk(chunk) for chunk in body["jobs"]]
        return 200, {"jobs": [verdict for verdict in verdicts if verdict], "flush_ms": self.config["flush_ms"]}

    def result(self, body: Json) -> tuple[int, Json]:
        job = self.jobs[body["job_id"]]
        job.results_seen += 1
        if job.verdict == "cancel":
            return 410, _error("CANCELLED", "cancelled")
        if job.fence != body["fence"]:
            return 409, _error("LEASE_LOST", "somebody else has it")
        if body["output_sha256"] != hashlib.sha256(body["output"].encode()).hexdigest():
            return 412, _error("CHECKSUM_MISMATCH", "send all again")
        if body["status"] == "refused":
            return self._take_back(job, body)
        again = job.result is not None
        job.result = job.result or body
        job.state = "failed" if body["status"] == "error" else "completed"
        return 200, {"job_id": job.job_id, "status": job.state, "message": "ok", "accepted": True, "duplicate": again}

    def _take_back(self, job: FakeJob, body: Json) -> tuple[int, Json]:
        self.fences += 1
        job.handed_back.append(body["error"]["code"])
        job.fence, job.state = str(self.fences), "queued"
        job.offer = {**job.offer, "fence": job.fence, "attempt": job.offer["attempt"] + 1}
        return 200, {"job_id": job.job_id, "status": "queued", "message": "ok", "accepted": False, "duplicate": False}

    def status(self, body: Json) -> tuple[int, Json]:
        self.statuses.append(body["status"])
        return 200, {"status": body["status"]}

    def _repeated(self, poll_id: str) -> list[FakeJob]:
        known = [self.jobs[job_id] for job_id in self.polls.get(poll_id, [])]
        return [job for job in known if job.state == "offered"]

    def _claim(self, query: dict[str, str], poll_id: str) -> list[FakeJob]:
        waiting = [] if self.news.get("drain") else [job for job in self.jobs.values() if job.state == "queued"]
        if query["idle"] == "0":
            waiting = [job for job in waiting if job.offer["kind"] != "idle"]
        claimed = sorted(waiting, key=lambda job: job.offer["kind"] == "idle")[: int(query["slots"])]
        for job in claimed:
            job.state = "offered"
        if claimed:
            self.polls[poll_id] = [job.job_id for job in claimed]
        return claimed

    def _verdict(self, entry: Json) -> Json:
        job = self.jobs[entry["job_id"]]
        verdict = self._judged(job, entry["fence"])
        if verdict == "ok" and job.state == "offered":
            job.state = "running"
        job.phases.append(entry["phase"])
        return {"job_id": job.job_id, "verdict": verdict, "lease_ms": 15000}

    def _judged(self, job: FakeJob, fence: str) -> str:
        if job.verdict:
            return job.verdict
        return "ok" if job.fence == fence and job.state != "queued" else "lost"

    def _take_chunk(self, chunk: Json) -> Json | None:
        job = self.jobs[chunk["job_id"]]
        job.chunk_posts += 1
        if job.mute:
            return None
        verdict = self._judged(job, chunk["fence"])
        if verdict != "ok":
            return {"job_id": job.job_id, "verdict": verdict}
        if job.first_chunk_offset is None:
            job.first_chunk_offset = chunk["offset"]
            job.text = job.offer.get("resume_text", "")[: chunk["offset"]]
        if chunk["offset"] != len(job.text):
            return {"job_id": job.job_id, "verdict": "range", "next_offset": len(job.text)}
        job.text += chunk["text"]
        job.tokens += chunk["tokens"]
        job.tool_deltas += chunk.get("tool_delta", [])
        return {"job_id": job.job_id, "verdict": "ok", "next_offset": len(job.text)}


def _error(code: str, detail: str) -> Json:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"detail": detail, "error_code": code, "timestamp": now}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    platform: FakePlatform
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.loads(raw) if raw else {}
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = "/status" if parts.path.startswith("/miner/") else parts.path
        with self.platform.changed:
            self.platform.seen.append((path, body or query, dict(self.headers)))
            fault = self.platform.faults[path].popleft() if self.platform.faults[path] else Fault()
            self.platform.changed.notify_all()
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.lose == "request":
            self.close_connection = True
            return
        status, reply = (fault.status, fault.body) if fault.status else self._answer(path, body, query)
        if fault.lose == "reply":
            self.close_connection = True
            return
        self._send(status, fault.raw if fault.raw is not None else json.dumps(reply).encode(), fault.headers)

    def _answer(self, path: str, body: Json, query: dict[str, str]) -> tuple[int, Json]:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.platform.changed:
            status, reply = self._route(path, body, query, key)
            self.platform.changed.notify_all()
        return status, reply

    def _route(self, path: str, body: Json, query: dict[str, str], key: str) -> tuple[int, Json]:
        if path == "/register_miner":
            return self.platform.register(body, key)
        if path == "/health":
            return 200, {"status": "ok"}
        if key not in {miner["auth_key"] for miner in self.platform.miners.values()}:
            return 401, _error("NOT_AUTHENTICATED", "unknown key")
        if path == "/miners/me":
            return 200, {"trust": "verified", "job_count": 7, "earnings_usd": self.platform.earnings_usd}
        if path == "/job/next":
            return self.platform.next_jobs(query, self.headers.get("X-MIA-Poll", ""))
        answers = {
            "/heartbeat": self.platform.heartbeat,
            "/job/chunks": self.platform.chunks,
            "/job/result": self.platform.result,
            "/status": self.platform.status,
        }
        return answers[path](body) if path in answers else (404, _error("NOT_FOUND", "no such path"))

    def _send(self, status: int, raw: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def _handler(platform: FakePlatform) -> type[Handler]:
    return type("BoundHandler", (Handler,), {"platform": platform})
