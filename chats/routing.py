"""Which addresses of chats the native lane and the sockets answer.

`POST /chat` is Django's, wrapped by `chats.consumers.waiting_chat` in `mia.asgi`.
"""

from chats.consumers import EventStream
from chats.sockets import ChatSocket, SeedSocket
from mia.lib.hot import route

http_urlpatterns = [
    route("chat/<uuid:session_id>/events", EventStream.as_asgi()),
]

websocket_urlpatterns = [
    route("ws/chat/<uuid:session_id>/", ChatSocket.as_asgi()),
    route("api/chat/ws", SeedSocket.as_asgi()),
]
