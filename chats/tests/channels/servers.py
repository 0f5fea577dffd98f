"""The other side of channels, on this machine: real mail servers, and a server that speaks Telegram's Bot API."""

from __future__ import annotations

import email
import imaplib
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.2"
USER, PASSWORD = "demouser", "demopass"
TOKEN = "4711:sesame"
PATIENCE_S = 20.0


class MailServers:
    """A mailbox behind IMAP (pymap), and an SMTP server (aiosmtpd) that keeps what it is given or refuses it."""

    def __init__(self) -> None:
        self.imap_port, self.smtp_port = _free_port(), _free_port()
        command = [str(Path(sys.executable).with_name("pymap")), "--no-tls", "--host", HOST]
        command += ["--port", str(self.imap_port), "dict", "--demo-data"]
        self._imap = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.sent: list[EmailMessage] = []
        self.refusal = ""
        self._smtp = Controller(self, hostname=HOST, port=self.smtp_port)
        self._smtp.start()
        _wait_for(self.imap_port)
        self._ids = itertools.count(1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        self.sent.append(email.message_from_bytes(bytes(envelope.content or b""), policy=default))  # type: ignore[arg-type]
        return "250 OK"

    def receive(self, raw: bytes) -> None:
        """Puts a mail into the mailbox."""
        box = imaplib.IMAP4(HOST, self.imap_port, timeout=PATIENCE_S)
        box.login(USER, PASSWORD)
        box.append("INBOX", "", "", raw)
        box.logout()

    def write(self, text: str, *, sender: str = "Ana Lima <ana@example.org>", **headers: str) -> str:
        """A person's mail; its id."""
        mail = EmailMessage()
        message_id = f"<{next(self._ids)}@example.org>"
        named = {"From": sender, "To": "help@shop.example", "Subject": "A question", "Message-ID": message_id}
        for name, value in {**named, **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
            mail[name] = value
        mail.set_content(text)
        self.receive(mail.as_bytes())
        return message_id

    def close(self) -> None:
        self._smtp.stop()
        self._imap.terminate()
        self._imap.wait(10)


class TelegramServer:
    """getUpdates with its offsets, sendMessage, getMe, and the refusals that the real one gives."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.refusal = 0
        self._numbers = itertools.count(100)
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def write(self, text: str, *, chat: int = 55, kind: str = "private", **fields: Any) -> None:
        number = next(self._numbers)
        sender = {"id": chat, "is_bot": False, "first_name": "Ana", "last_name": "Lima"}
        message = {"message_id": number, "from": sender, "chat": {"id": chat, "type": kind}, "date": 1, "text": text}
        self.updates.append({"update_id": number, "message": {**message, **fields}})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, asked: dict[str, Any]) -> Any:
        if method == "getUpdates":
            # As the real one: what lies before the offset is confirmed, and gone.
            self.updates = [update for update in self.updates if update["update_id"] >= asked["offset"]]
            return self.updates[: asked["limit"]]
        if method == "sendMessage":
            self.sent.append(asked)
            return {"message_id": next(self._numbers), "chat": {"id": asked["chat_id"]}}
        return {"id": 1, "is_bot": True, "username": "shop_bot"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bot = self

        class Handler(BaseHTTPRequestHandler):
            """One call of the Bot API."""

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                token, _, method = self.path.removeprefix("/bot").partition("/")
                status = bot.refusal or (200 if token == TOKEN else 401)
                reply = {"ok": True, "result": bot.answer(method, asked)} if status == 200 else {"ok": False}
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Silence."""

        return Handler


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the mail server did not start")
