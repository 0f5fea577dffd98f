"""`manage.py web`: the HTTP and WebSocket server."""

import gc
import socket
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mia.server.limits import body_limit
from mia.server.listening import allow_many_connections, listen
from mia.server.serve import Server


class Command(BaseCommand):
    """Serves `mia.asgi` until it is told to stop; then requests in flight are finished and sockets closed with 1012."""

    help = "Serve HTTP and WebSockets; SIGTERM drains, a second one stops at once."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (default: %(default)s)")
        parser.add_argument("--fd", type=int, help="inherited listening socket: a rolling restart on it loses nothing")
        parser.add_argument("--reuse-port", action="store_true", help="let several processes listen on the same port")

    def handle(self, *args: Any, **options: Any) -> None:
        # Imported here: `manage.py help web` needs no urls.
        from mia.asgi import application

        spare_the_garbage_collector()
        listener = self.listener(**options)
        allow_many_connections()
        Server(
            application,
            listener=listener,
            body_limit=body_limit(settings.MAX_BODY_BYTES, getattr(settings, "BODY_LIMITS", {})),
            trusted_proxies=settings.TRUSTED_PROXY_COUNT,
        ).run()

    def listener(self, *, bind: str, port: int, fd: int | None, reuse_port: bool, **_options: object) -> socket.socket:
        if fd is not None:
            return socket.socket(fileno=fd)
        try:
            return listen(bind, port, share_port=reuse_port)
        except OSError as error:
            raise CommandError(f"Cannot listen on {bind} port {port}: {error.strerror}.") from error


def spare_the_garbage_collector() -> None:
    """What start-up made stays for good: walking it again and again cost 2 % and stopped every stream meanwhile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
