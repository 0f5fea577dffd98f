"""Which addresses of chats the native lane and the sockets answer.

`POST /chat` is Django's, wrapped by `chats.consumers.waiting_chat` in `mia.asgi`.
"""

from django.urls import path

from chats.consumers import EventStream
from chats.sockets import ChatSocket, SeedSocket

http_urlpatterns = [
    path("chat/<uuid:session_id>/events", EventStream.as_asgi()),
]

websocket_urlpatterns = [
    path("ws/chat/<uuid:session_id>/", ChatSocket.as_asgi()),
    path("api/chat/ws", SeedSocket.as_asgi()),
]
