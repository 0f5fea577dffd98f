"""A browser signed in to the admin of a platform that really runs, driven from a thread of its own.

Playwright keeps an event loop in its thread, where Django refuses to touch the database; so every call goes through
`Screen.do`, and the test's own thread stays free to make rows.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings
from django.db import connection

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_platform(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`manage.py web` on the test's own database and Redis."""
    given = connection.get_connection_params()
    address = f"postgresql://{given['user']}@/{given['dbname']}?host={given['host']}"
    environment = {**os.environ, "DATABASE_URL": address, "SECRET_KEY": settings.SECRET_KEY, "APP_ENV": "test"}
    command = [sys.executable, "manage.py", "web", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_healthy(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def wait_until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("The platform did not start.")


class Screen:
    """One page of one browser; `problems` are what its console complained of."""

    def __init__(self, url: str, session_cookie: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browser")
        self._url = url
        self.problems: list[str] = []
        self._thread.submit(self._open, session_cookie).result(60)

    def _open(self, session_cookie: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = self._browser.new_context(viewport={"width": 1440, "height": 900})
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session_cookie, "url": self._url}
        context.add_cookies([cookie])
        context.set_default_timeout(15_000)
        self._page = context.new_page()
        self._page.on("pageerror", lambda error: self.problems.append(str(error)))
        self._page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))

    def do(self, act: Callable[[Any], Any]) -> Any:
        """What the act makes of Playwright's page."""
        return self._thread.submit(act, self._page).result(60)

    def go(self, path: str) -> None:
        self.do(lambda page: page.goto(self._url + path))

    def wait_for(self, condition: str) -> None:
        """Until this JavaScript is true; fails with the page's words."""
        try:
            # Between two pages there is a moment without a body.
            self.do(lambda page: page.wait_for_function(f"document.body !== null && ({condition})"))
        except Exception as error:
            raise AssertionError(
                f"{condition} stayed false on: {self.do(lambda page: page.inner_text('#main'))}"
            ) from error

    def close(self) -> None:
        self._thread.submit(self._close).result(60)
        self._thread.shutdown()

    def _close(self) -> None:
        self._browser.close()
        self._playwright.stop()
