"""A small OpenAI-compatible server in this process, with the faults of real ones."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"or'}}
CALL_REST = {"index": 0, "function": {"arguments": 'der": 7}'}}


class FakeOpenAI:
    """Answers every chat with `words`; `mode` chooses how."""

    def __init__(self) -> None:
        self.words = ["Our ", "shop ", "opens ", "at ", "nine ", "— ", "café ", "🚲."]
        self.mode = "stream"
        self.delay_s = 0.0
        self.list_status = 200
        self.models: list[Json] = [{"id": "qwen", "max_model_len": 4096}, {"id": "other"}]
        self.bodies: list[Json] = []
        self.keys: list[str] = []
        self.cut = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def text(self) -> str:
        return "".join(self.words)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    fake: FakeOpenAI
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._json(self.fake.list_status, {"object": "list", "data": self.fake.models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.bodies.append(body)
        self.fake.keys.append(self.headers.get("Authorization", ""))
        if self.path.endswith("/embeddings") and not self.fake.mode.isdigit():
            rows = [{"index": place, "embedding": [len(text), 0.5, -1.0]} for place, text in enumerate(body["input"])]
            self._json(200, {"data": rows[::-1] if self.fake.mode != "garbage" else [{}], "usage": _USAGE})
        elif self.path.endswith("/rerank") and not self.fake.mode.isdigit():
            scores = [{"index": place, "relevance_score": len(text)} for place, text in enumerate(body["documents"])]
            self._json(200, {"results": scores[::-1] if self.fake.mode != "garbage" else scores[1:], "usage": _USAGE})
        elif self.fake.mode.isdigit():
            self._json(int(self.fake.mode), {"error": {"message": "maximum context length is 4096 tokens"}})
        elif self.fake.mode == "whole":
            message = {"role": "assistant", "content": self.fake.text}
            self._json(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": _USAGE})
        else:
            self._stream()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if self.fake.mode == "close":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in _events(self.fake):
                self._write(event)
                if self.fake.delay_s:
                    time.sleep(self.fake.delay_s)
            if self.fake.mode == "cut":
                self.close_connection = True
                self.connection.close()
            elif self.fake.mode != "close":
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.fake.cut.set()

    def _write(self, data: bytes) -> None:
        framed = data if self.fake.mode == "close" else f"{len(data):x}\r\n".encode() + data + b"\r\n"
        self.wfile.write(framed)
        self.wfile.flush()

    def _json(self, status: int, body: Json) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _handler(fake: FakeOpenAI) -> type[Handler]:
    return type("BoundHandler", (Handler,), {"fake": fake})


_USAGE = {"prompt_tokens": 21, "completion_tokens": 8}


def _events(fake: FakeOpenAI) -> list[bytes]:
    words = [_event({"choices": [{"delta": {"content": word}}]}) for word in fake.words]
    start = [b": a comment\n\n", _event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})]
    end = [
        _event({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        _event({"choices": [], "usage": _USAGE}),
        b"data: [DONE]\n\n",
    ]
    if fake.mode == "tools":
        parts = [_event({"choices": [{"delta": {"tool_calls": [call]}}]}) for call in (CALL, CALL_REST)]
        return [*start, *parts, _event({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}), end[2]]
    if fake.mode == "cut":
        return [*start, *words[:3]]
    if fake.mode == "error":
        return [*start, *words[:2], _event({"error": {"message": "CUDA error"}})]
    if fake.mode == "garbage":
        return [*start, b"data: {not json\n\n"]
    if fake.mode == "split":
        whole = b"".join([*start, *words, *end])
        return [whole[index : index + 7] for index in range(0, len(whole), 7)]
    if fake.mode == "endless":
        return [*start, *words * 400]
    return [*start, *words, *end]


def _event(body: Json) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\r\n\r\n"
