"""The miners' addresses on the native lane, and the live dashboard's socket."""

from mia.lib.hot import route
from miners.consumers import Chunks, ClaimJob, Heartbeat, NextJob
from miners.sockets import NetworkSocket

http_urlpatterns = [
    route("job/next", NextJob.as_asgi()),
    route("job/claim", ClaimJob.as_asgi()),
    route("heartbeat", Heartbeat.as_asgi()),
    route("job/chunks", Chunks.as_asgi()),
]

websocket_urlpatterns = [route("ws/network/", NetworkSocket.as_asgi())]
