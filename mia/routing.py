"""Which addresses the native lane and the sockets answer; everything else is Django's."""

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter

from chats.routing import http_urlpatterns as chat_lane
from chats.routing import websocket_urlpatterns as chat_sockets
from miners.routing import http_urlpatterns as miner_lane
from miners.routing import websocket_urlpatterns as miner_sockets

http_urlpatterns = [*miner_lane, *chat_lane]
socket_router = AuthMiddlewareStack(URLRouter([*miner_sockets, *chat_sockets]))
