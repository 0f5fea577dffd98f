"""The shapes that travel between the miner and the platform, and how untrusted replies become typed values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import NotRequired, TypeAlias, TypedDict

JsonObject: TypeAlias = dict[str, object]


class ModelCard(TypedDict):
    """One model this miner serves."""

    id: str
    backend: str
    quant: str
    max_context: int
    max_output: int
    features: list[str]
    languages: NotRequired[list[str]]
    digest: NotRequired[str]


class GpuCard(TypedDict):
    """One GPU of this machine."""

    name: str
    vram_mb: int
    driver: NotRequired[str]
    compute_capability: NotRequired[str]
    uuid_hash: NotRequired[str]


class GpuLoad(TypedDict):
    """How busy the GPUs are now."""

    memory_used_mb: int
    utilization: int
    temperature: int
    memory_total_mb: NotRequired[int]
    power_w: NotRequired[int]


class Registration(TypedDict):
    """Body of POST /register_miner."""

    name: str
    status: str
    agent: str
    instance: str
    models: list[ModelCard]
    gpus: list[GpuCard]
    slots: int
    lanes: list[str]
    bench: NotRequired[dict[str, float]]
    gpu_name: NotRequired[str]
    gpu_memory_mb: NotRequired[int]
    enrolment_token: NotRequired[str]


class HeartbeatJob(TypedDict):
    """One running job inside a heartbeat."""

    job_id: str
    fence: str
    phase: str
    tokens: int


class Heartbeat(TypedDict):
    """Body of POST /heartbeat."""

    miner_id: str
    status: str
    slots_free: int
    jobs: list[HeartbeatJob]
    gpu: NotRequired[GpuLoad]


class Chunk(TypedDict):
    """New text of one job; `offset` counts code points of the whole answer, `tokens` those inside this text."""

    job_id: str
    fence: str
    offset: int
    text: str
    tokens: int
    tool_delta: NotRequired[list[JsonObject]]


class ErrorReport(TypedDict):
    """Why a job has no answer."""

    code: str
    retryable: bool
    message: str


class Result(TypedDict):
    """Body of POST /job/result."""

    job_id: str
    session_id: str
    output: str
    miner_id: str
    success: bool
    tokens_generated: int
    attempt: int
    fence: str
    status: str
    output_sha256: str
    model: NotRequired[str]
    model_digest: NotRequired[str]
    finish_reason: NotRequired[str]
    tool_calls: NotRequired[list[JsonObject]]
    usage: NotRequired[dict[str, int]]
    timing: NotRequired[dict[str, int]]
    error: NotRequired[ErrorReport]


@dataclass(frozen=True)
class PlatformConfig:
    """The rhythm the platform asks for, in milliseconds; it may change with any reply."""

    poll_wait_ms: int = 25_000
    offer_ms: int = 5_000
    lease_ms: int = 15_000
    renew_ms: int = 5_000
    flush_ms: int = 150
    heartbeat_ms: int = 5_000
    max_slots: int = 64

    def changed_by(self, raw: object) -> "PlatformConfig":
        """The config with every usable value of `raw`; a mistyped or senseless one is left as it was."""
        given = as_object(raw)
        news = {name: _bounded(given.get(name), *_BOUNDS[name]) for name in (f.name for f in fields(self))}
        return replace(self, **{name: value for name, value in news.items() if value is not None})


_BOUNDS = {
    "poll_wait_ms": (0, 55_000),
    "offer_ms": (200, 60_000),
    "lease_ms": (1_000, 600_000),
    "renew_ms": (100, 60_000),
    "flush_ms": (10, 5_000),
    "heartbeat_ms": (100, 60_000),
    "max_slots": (1, 1_024),
}


@dataclass(frozen=True)
class Offer:
    """One job the platform offers; it is ours once a heartbeat with its fence was answered `ok`."""

    job_id: str
    fence: str
    attempt: int = 1
    kind: str = "chat"
    offer_ms: int = 5_000
    deadline_ms: int = 120_000
    model: str = ""
    session_id: str = ""
    messages: tuple[JsonObject, ...] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    tools: tuple[JsonObject, ...] = ()
    tool_choice: object = "auto"
    resume_text: str = ""


@dataclass(frozen=True)
class Orders:
    """What the platform asks beside the work itself."""

    drain: bool | None = None
    pause: bool | None = None
    cancel: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class PollReply:
    """The jobs of one poll."""

    offers: tuple[Offer, ...]
    orders: Orders


@dataclass(frozen=True)
class Verdict:
    """What the platform thinks of one running job: ok, range, cancel or lost."""

    job_id: str
    verdict: str
    next_offset: int | None = None


@dataclass(frozen=True)
class HeartbeatReply:
    """The platform's verdict on each running job."""

    verdicts: tuple[Verdict, ...]
    orders: Orders


@dataclass(frozen=True)
class ChunksReply:
    """The platform's verdict on each chunk, and how often it wants them."""

    verdicts: tuple[Verdict, ...]
    flush_ms: int | None


def parse_poll(body: JsonObject) -> PollReply:
    """The usable offers of a poll; an offer without id or fence cannot be acknowledged and is dropped."""
    offers = (parse_offer(as_object(raw)) for raw in as_list(body.get("jobs")))
    return PollReply(tuple(offer for offer in offers if offer.job_id and offer.fence), parse_orders(body))


def parse_offer(raw: JsonObject) -> Offer:
    params = as_object(raw.get("params"))
    return Offer(
        job_id=as_text(raw.get("job_id")),
        fence=as_text(raw.get("fence")),
        attempt=as_int(raw.get("attempt"), 1),
        kind=as_text(raw.get("kind")) or "chat",
        offer_ms=as_int(raw.get("offer_ms"), 5_000),
        deadline_ms=as_int(raw.get("deadline_ms"), 120_000),
        model=as_text(raw.get("model")),
        session_id=as_text(raw.get("session_id")),
        messages=_objects(raw.get("messages")) or _seed_messages(raw),
        params=params,
        tools=_objects(raw.get("tools")),
        tool_choice=raw.get("tool_choice", "auto"),
        resume_text=as_text(raw.get("resume_text")),
    )


def parse_heartbeat(body: JsonObject) -> HeartbeatReply:
    return HeartbeatReply(_verdicts(body), parse_orders(body))


def parse_chunks(body: JsonObject) -> ChunksReply:
    return ChunksReply(_verdicts(body), _bounded(body.get("flush_ms"), *_BOUNDS["flush_ms"]))


def parse_orders(body: JsonObject) -> Orders:
    drain, pause = body.get("drain"), body.get("pause")
    cancel = (as_text(as_object(item).get("job_id") or item) for item in as_list(body.get("cancel")))
    messages = (_message_text(item) for item in as_list(body.get("messages")))
    return Orders(
        drain=drain if isinstance(drain, bool) else None,
        pause=pause if isinstance(pause, bool) else None,
        cancel=tuple(job_id for job_id in cancel if job_id),
        messages=tuple(text for text in messages if text),
    )


def as_object(raw: object) -> JsonObject:
    return raw if isinstance(raw, dict) else {}


def as_list(raw: object) -> list[object]:
    return raw if isinstance(raw, list) else []


def as_text(raw: object) -> str:
    """A string, or a number as its digits (ids and fences may come as either)."""
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        return ""
    return str(raw)


def as_int(raw: object, default: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return default
    return int(raw)


def _bounded(raw: object, low: int, high: int) -> int | None:
    value = as_int(raw, -1)
    return min(value, high) if value >= low else None


def _objects(raw: object) -> tuple[JsonObject, ...]:
    return tuple(item for item in as_list(raw) if isinstance(item, dict))


def _verdicts(body: JsonObject) -> tuple[Verdict, ...]:
    return tuple(_verdict(item) for item in _objects(body.get("jobs")))


def _verdict(raw: JsonObject) -> Verdict:
    offset = raw.get("next_offset")
    next_offset = as_int(offset, -1) if offset is not None else -1
    return Verdict(as_text(raw.get("job_id")), as_text(raw.get("verdict")), next_offset if next_offset >= 0 else None)


def _seed_messages(raw: JsonObject) -> tuple[JsonObject, ...]:
    """Chat messages from the flat `prompt` and `context` of the first MIA platform."""
    context, prompt = as_text(raw.get("context")), as_text(raw.get("prompt"))
    system: Iterable[JsonObject] = [{"role": "system", "content": context}] if context else []
    return (*system, {"role": "user", "content": prompt})


def _message_text(raw: object) -> str:
    given = as_object(raw)
    return as_text(given.get("text") or given.get("message") or raw)
