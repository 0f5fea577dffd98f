"""Any OpenAI-compatible server as an engine: vLLM, TabbyAPI, llama.cpp, Ollama, transformers serve."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import requests

from gpu_miner.engines.base import Cancelled, Delta, EngineJob, Finish, Stream, Usage, text_of
from gpu_miner.engines.embedding_vectors import packed, vectors_of
from gpu_miner.engines.event_stream import StreamBroken, events
from gpu_miner.engines.rerank_scores import scored
from gpu_miner.errors import EngineError, EngineUnavailable
from gpu_miner.protocol import JsonObject, ModelCard, as_int, as_list, as_object, as_text

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
LIST_TIMEOUT_S = 10.0
# Servers that write well and do not list what they have: `transformers serve` without a hub, and some proxies. A model
# that the operator named is then taken at their word.
CANNOT_LIST = frozenset({404, 405, 500, 501})
MAX_ERROR_BYTES = 64 * 1024
EMBEDDING_CONTEXT = 512
# What a job may set, beside its token limit; anything else stays between the platform and its prompt builder.
PASSED_PARAMS = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "parallel_tool_calls",
)


@dataclass(frozen=True)
class OpenAIOptions:
    """Where the server is and what it can do."""

    url: str
    model: str = ""
    embedding_model: str = ""
    rerank_model: str = ""
    key: str = ""
    prefill: str = "none"
    timeout_s: float = 120.0
    max_context: int = 8192
    max_output: int = 1024
    features: tuple[str, ...] = ("tools", "json")


@dataclass
class ToolCalls:
    """Tool calls put together from their streamed parts."""

    calls: dict[int, JsonObject] = field(default_factory=dict)

    def add(self, part: JsonObject) -> None:
        index = as_int(part.get("index"), len(self.calls))
        call = self.calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call["id"] = call["id"] or as_text(part.get("id"))
        function, news = as_object(call["function"]), as_object(part.get("function"))
        function["name"] = as_text(function["name"]) or as_text(news.get("name"))
        function["arguments"] = as_text(function["arguments"]) + as_text(news.get("arguments"))

    def finished(self) -> tuple[JsonObject, ...]:
        return tuple(self.calls[index] for index in sorted(self.calls))


class OpenAIEngine:
    """Passes jobs to one server, each as a streamed chat completion."""

    def __init__(self, options: OpenAIOptions, *, slots: int) -> None:
        self.slots = slots
        self._options = options
        self._model = options.model
        self._headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}

    def models(self) -> list[ModelCard]:
        served = self._served_models()
        chosen = [model for model in served if model.get("id") == self._options.model] or served[:1]
        if self._options.model and chosen[0].get("id") != self._options.model:
            names = ", ".join(as_text(model.get("id")) for model in served)
            raise EngineUnavailable(
                f"the server at {self._options.url} has no model {self._options.model}; it has {names}"
            )
        self._model = as_text(chosen[0].get("id"))
        # vLLM tells the real length; the others keep it to themselves and the setting counts.
        context = as_int(chosen[0].get("max_model_len"), self._options.max_context)
        features = [*self._options.features, *(["prefill_continue"] if self._continues else [])]
        return [
            {
                "id": self._model,
                "backend": "openai",
                "quant": "",
                "max_context": context,
                "max_output": min(self._options.max_output, context),
                "features": features,
            },
            *self._number_models(),
        ]

    def admits(self, job: EngineJob) -> bool:
        return True

    def room(self) -> int:
        return self.slots

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        try:
            return {"embed": self._embed, "rerank": self._rerank}.get(job.kind, self._complete)(job, stream)
        except (requests.RequestException, StreamBroken) as error:
            if stream.cancelled:
                raise Cancelled from error
            raise _translated(error) from error

    def close(self) -> None:
        """Nothing is kept open between jobs."""

    @property
    def _continues(self) -> bool:
        return self._options.prefill != "none"

    def _number_models(self) -> list[ModelCard]:
        """Models of the same server that give vectors or scores instead of words."""
        named = {"embed": self._options.embedding_model, "rerank": self._options.rerank_model}
        return [
            {
                "id": model,
                "backend": "openai",
                "quant": "",
                "max_context": EMBEDDING_CONTEXT,
                "max_output": 1,
                "features": [feature],
            }
            for feature, model in named.items()
            if model
        ]

    def _embed(self, job: EngineJob, stream: Stream) -> Finish:
        """The vectors of all messages, in their order, as `embedding_vectors.packed` writes them."""
        texts = [text_of(message) for message in job.messages]
        body = self._asked("embeddings", {"model": job.model, "input": texts}, stream)
        return self._told(packed(vectors_of(body, len(texts))), body, stream)

    def _rerank(self, job: EngineJob, stream: Stream) -> Finish:
        """How well each message after the first answers it, in their order, as `rerank_scores.scored` writes it."""
        question, *passages = [text_of(message) for message in job.messages]
        given: JsonObject = {"model": job.model, "query": question, "documents": passages, "return_documents": False}
        body = self._asked("rerank", given, stream)
        return self._told(scored(body, len(passages)), body, stream)

    def _asked(self, path: str, given: JsonObject, stream: Stream) -> JsonObject:
        with requests.post(
            f"{self._options.url}/{path}",
            json=given,
            headers=self._headers,
            timeout=(CONNECT_TIMEOUT_S, self._options.timeout_s),
            allow_redirects=False,
        ) as response:
            if response.status_code != 200:
                raise _server_error(response)
            body = _json_object(response.text)
        if stream.cancelled:
            raise Cancelled
        return body

    def _told(self, numbers: str, body: JsonObject, stream: Stream) -> Finish:
        stream.begin(continues=False)
        stream.push(Delta(numbers, 1))
        return Finish("stop", _usage(body.get("usage")))

    def _complete(self, job: EngineJob, stream: Stream) -> Finish:
        with requests.post(
            f"{self._options.url}/chat/completions",
            json=self._body(job),
            headers=self._headers,
            timeout=(CONNECT_TIMEOUT_S, self._options.timeout_s),
            allow_redirects=False,
            stream=True,
        ) as response:
            # Closing would not wake a thread that waits for the next bytes; shutting the socket down does.
            stream.on_cancel(response.raw.shutdown)
            if response.status_code != 200:
                raise _server_error(response)
            stream.begin(continues=self._continues and bool(job.resume_text))
            finish = _read_completion(response, stream)
        if stream.cancelled:
            raise Cancelled
        return finish

    def _body(self, job: EngineJob) -> JsonObject:
        body: JsonObject = {
            "model": self._model,
            "messages": list(job.messages),
            "max_tokens": min(job.max_tokens, self._options.max_output),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body.update({name: job.params[name] for name in PASSED_PARAMS if job.params.get(name) not in (None, [], "")})
        if job.tools:
            body["tools"] = list(job.tools)
            body["tool_choice"] = job.tool_choice
        if job.resume_text and self._continues:
            body["messages"] = [*job.messages, {"role": "assistant", "content": job.resume_text}]
        if job.resume_text and self._options.prefill == "vllm":
            body.update({"continue_final_message": True, "add_generation_prompt": False})
        return body

    def _served_models(self) -> list[JsonObject]:
        try:
            response = requests.get(
                f"{self._options.url}/models",
                headers=self._headers,
                timeout=(CONNECT_TIMEOUT_S, LIST_TIMEOUT_S),
                allow_redirects=False,
            )
            if self._options.model and response.status_code in CANNOT_LIST:
                return [{"id": self._options.model}]
            response.raise_for_status()
            listed = as_list(as_object(response.json()).get("data"))
        except (requests.RequestException, ValueError) as error:
            raise EngineUnavailable(
                f"no OpenAI-compatible server answers at {self._options.url}/models ({error}); start it first"
            ) from error
        models = [model for model in listed if isinstance(model, dict) and as_text(model.get("id"))]
        if not models:
            raise EngineUnavailable(f"the server at {self._options.url} serves no model")
        return models


def _read_completion(response: requests.Response, stream: Stream) -> Finish:
    reason, usage, calls, ended = "", None, ToolCalls(), False
    for event in _completion_events(response):
        if event is None:
            ended = True
            break
        if event.get("error"):
            raise _reported(event["error"])
        usage = _usage(event.get("usage")) or usage
        for choice in (as_object(item) for item in as_list(event.get("choices"))[:1]):
            delta = as_object(choice.get("delta")) or as_object(choice.get("message"))
            _push(delta, calls, stream)
            reason = as_text(choice.get("finish_reason")) or reason
        if stream.cancelled:
            raise Cancelled
    if not reason and not ended:
        raise EngineError("engine_truncated", "the server's stream broke off", retryable=True)
    return Finish(reason or "stop", usage, calls.finished())


def _completion_events(response: requests.Response) -> Iterator[JsonObject | None]:
    """The JSON events of the stream, None for its end mark; a server that did not stream counts as one event."""
    if "json" in response.headers.get("Content-Type", ""):
        yield _json_object(response.text)
        yield None
        return
    for data in events(response):
        yield None if data == "[DONE]" else _json_object(data)


def _json_object(text: str) -> JsonObject:
    try:
        event = json.loads(text)
    except ValueError as error:
        raise EngineError("engine_garbage", "the server sent something that is not JSON", retryable=True) from error
    return as_object(event)


def _push(delta: JsonObject, calls: ToolCalls, stream: Stream) -> None:
    text = as_text(delta.get("content"))
    parts = tuple(as_object(part) for part in as_list(delta.get("tool_calls")))
    for part in parts:
        calls.add(part)
    if text or parts:
        stream.push(Delta(text, 1, parts))


def _usage(raw: object) -> Usage | None:
    given = as_object(raw)
    if not given:
        return None
    return Usage(as_int(given.get("prompt_tokens"), 0), as_int(given.get("completion_tokens"), 0))


def _server_error(response: requests.Response) -> EngineError:
    raw = next(response.iter_content(MAX_ERROR_BYTES), b"")
    try:
        body = as_object(json.loads(raw))
    except ValueError:
        body = {}
    reported = as_object(body.get("error")) or body
    words = as_text(reported.get("message") or reported.get("detail")) or f"HTTP {response.status_code}"
    if response.status_code in (400, 413, 422):
        too_long = "context" in words.lower() or "too long" in words.lower() or "maximum" in words.lower()
        return EngineError("context_too_long" if too_long else "bad_request", words, retryable=too_long)
    if response.status_code in (401, 403):
        logger.error("the server refuses the key: set MIA_OPENAI_KEY")
        return EngineError("engine_refused", "the server refuses this miner", retryable=True)
    code = "engine_busy" if response.status_code == 429 else "engine_error"
    return EngineError(code, words, retryable=True)


def _reported(raw: object) -> EngineError:
    words = as_text(as_object(raw).get("message") or raw) or "the server reported an error"
    return EngineError("engine_error", words, retryable=True)


def _translated(error: Exception) -> EngineError:
    if (isinstance(error, requests.Timeout) and not isinstance(error, requests.ConnectTimeout)) or "timed out" in str(
        error
    ).lower():
        return EngineError("engine_timeout", "the server went silent", retryable=True)
    if isinstance(error, StreamBroken):
        return EngineError("engine_truncated", str(error), retryable=True)
    return EngineError("engine_unreachable", "the connection to the server failed", retryable=True)
