"""The HTTP session behind `mia.lib.http`: which addresses it connects to, and how it is stopped in time.

A name is resolved once and the address that was checked is the one connected to, so a name that changes its mind
between check and use gains nothing.
"""

import contextlib
import ipaddress
import socket
import threading
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Final, Self

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 10.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out credentials. Azure's is a public address, so no test for private ones catches it.
METADATA_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",
        "169.254.0.0/16",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fd00:ec2::/32",
        "fe80::/10",
    )
)
# All of IPv6 that is given out to be routed; the rest holds old ways to write IPv4 addresses, ::127.0.0.1 among them.
ROUTED_IPV6: Final = ipaddress.ip_network("2000::/3")


def is_metadata_address(address: Address) -> bool:
    """Whether a cloud may hand out credentials there."""
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in network for network in METADATA_NETWORKS)


def is_listed_address(address: Address) -> bool:
    """Whether the operator allows this loopback address all the same; in production that is a check error."""
    networks = [ipaddress.ip_network(network) for network in settings.OUTBOUND_LOOPBACK_NETWORKS]
    return address.is_loopback and any(address in network for network in networks)


def is_public_address(address: Address) -> bool:
    """Whether anybody on the internet could connect there, so that we may on behalf of anybody."""
    if is_metadata_address(address) or not address.is_global or address.is_multicast:
        return False
    return address.version == 4 or address in ROUTED_IPV6


class Deadline:
    """Ends a whole exchange in time: a server that drips bytes resets every timeout of a single read.

    When time is up the sockets are shut down from a timer's thread, and the read that waits on them returns.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.passed = False
        self._timer = threading.Timer(timeout_s, self._expire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connected)
        if self.passed:
            self._expire()

    def _expire(self) -> None:
        self.passed = True
        with self._lock:
            for connected in self._sockets:
                with contextlib.suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)


class OutboundSession(requests.Session):
    """One exchange: no proxy, no netrc, no cookie, no redirect of its own accord."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers["User-Agent"] = settings.OUTBOUND_USER_AGENT
        self._timeout = (min(CONNECT_TIMEOUT_S, deadline.timeout_s), min(READ_TIMEOUT_S, deadline.timeout_s))
        for scheme in ("http", "https"):
            adapter: WatchedAdapter = (
                PrivateAdapter() if settings.OUTBOUND_ALLOW_PRIVATE else PublicAdapter(is_https=scheme == "https")
            )
            adapter.deadline = deadline
            self.mount(f"{scheme}://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: requests would parse the target, and fail on some, even where it may not follow it."""

    def start(self, request: requests.PreparedRequest) -> requests.Response:
        return self.send(request, stream=True, allow_redirects=False, timeout=self._timeout)


class WatchedAdapter(HTTPAdapter):
    """Puts every connection that it opens under a deadline."""

    deadline: Deadline

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _watched(pool.ConnectionCls, self.deadline)
        return pool


def _watched(connection_class: type[Any], deadline: Deadline) -> type[Any]:
    class WatchedConnection(connection_class):  # type: ignore[misc]
        """A connection whose socket the deadline may shut down."""

        def connect(self) -> None:
            super().connect()
            deadline.watch(self.sock)

    return WatchedConnection


class PublicAdapter(WatchedAdapter, IPFilterAdapter):  # type: ignore[misc]
    """Connects to public addresses only, and to those that OUTBOUND_LOOPBACK_NETWORKS lists."""

    def __init__(self, *, is_https: bool) -> None:
        super().__init__(is_https, allow_loopback=bool(settings.OUTBOUND_LOOPBACK_NETWORKS))  # type: ignore[call-arg]

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        address = ipaddress.ip_address(host["host"].strip("[]"))
        if not (is_public_address(address) or is_listed_address(address)):
            raise InvalidIPAddress(str(address))
        return host, pool


class PrivateAdapter(WatchedAdapter):
    """For OUTBOUND_ALLOW_PRIVATE: connects anywhere but to where a cloud hands out credentials."""

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        for found in socket.getaddrinfo(host["host"].strip("[]"), host["port"], type=socket.SOCK_STREAM):
            if is_metadata_address(ipaddress.ip_address(found[4][0])):
                raise InvalidIPAddress(str(found[4][0]))
        return host, pool
