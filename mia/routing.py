"""Which addresses the native lane and the sockets answer; everything else is Django's."""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter

from chats.routing import http_urlpatterns as chat_lane
from chats.routing import websocket_urlpatterns as chat_sockets
from miners.routing import http_urlpatterns as miner_lane
from miners.routing import websocket_urlpatterns as miner_sockets

http_urlpatterns: list[Any] = [*miner_lane, *chat_lane]
socket_urlpatterns: list[Any] = [*miner_sockets, *chat_sockets]
socket_router = AuthMiddlewareStack(URLRouter(socket_urlpatterns))
