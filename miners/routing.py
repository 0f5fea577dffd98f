"""The miners' addresses on the native lane, and the live dashboard's socket."""

from django.urls import path

from miners.consumers import Chunks, Heartbeat, NextJob
from miners.sockets import NetworkSocket

http_urlpatterns = [
    path("job/next", NextJob.as_asgi()),
    path("job/claim", NextJob.as_asgi()),
    path("heartbeat", Heartbeat.as_asgi()),
    path("job/chunks", Chunks.as_asgi()),
]

websocket_urlpatterns = [path("ws/network/", NetworkSocket.as_asgi())]
