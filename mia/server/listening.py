"""Sockets to listen on, and what a process that serves thousands needs from the system."""

import os
import resource
import socket
from contextlib import suppress
from typing import Final

BACKLOG: Final = 1024


def listen(host: str, port: int, *, share_port: bool = False) -> socket.socket:
    """A listening socket, inheritable, so that the next process can go on with it. Raises OSError."""
    family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def allow_many_connections() -> None:
    """Raise the soft limit of open files, often 1024, to the hard one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def notify_ready() -> None:
    """Tell whoever started us that we accept connections, as systemd's `Type=notify` has it."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, suppress(OSError):
            notifier.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
