"""A small model hub in this process, which cuts lines, lies about sizes and serves wrong bytes on demand."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

WEIGHTS = bytes(range(256)) * 8192  # 2 MiB


class FakeHub:
    """One repository, owner/model at revision 4.0bpw; tests change the files and the misbehaviour."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {
            "config.json": b'{"model_type": "qwen2"}',
            "model.safetensors": WEIGHTS,
            "README.md": b"not wanted",
        }
        self.listed: dict[str, dict[str, Any]] = {}
        self.cut_after: list[int] = []
        self.served: dict[str, list[bytes]] = {}
        self.knows_ranges = True
        self.requests: list[tuple[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fetched(self, path: str) -> list[str]:
        """The Range of each request for the file."""
        return [given for seen, given in self.requests if seen.endswith(f"/{path}")]

    def listing(self) -> list[dict[str, Any]]:
        return [{"type": "directory", "path": "x"}, *(self.entry(path) for path in self.files)]

    def entry(self, path: str) -> dict[str, Any]:
        content = self.files[path]
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return {**entry, **self.listed.get(path, {})}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((path, self.headers.get("Range", "")))
        if path == "/api/models/owner/model/tree/4.0bpw":
            return self.give(200, json.dumps(self.hub.listing()).encode())
        name = path.removeprefix("/owner/model/resolve/4.0bpw/")
        if name not in self.hub.files:
            return self.give(404, b"{}")
        versions = self.hub.served.get(name)
        content = versions.pop(0) if versions else self.hub.files[name]
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
        if start and not self.hub.knows_ranges:
            start = 0
        if start and start >= len(content):
            return self.give(416, b"")
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        return self.give(206 if start else 200, content[start:], headers)

    def give(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if len(body) > 100_000 and self.hub.cut_after:
            self.wfile.write(body[: self.hub.cut_after.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(body)
