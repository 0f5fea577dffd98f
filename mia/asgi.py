"""The one ASGI application: sockets and the hot lane natively, everything else through Django's WSGI handler.

Django's own ASGI handler costs four to ten times what its WSGI handler costs per request, since each synchronous
middleware crosses threads, and pins a thread to every open request. So Django runs behind one thread hop, in a pool
of WEB_THREADS, and nothing that waits is routed to it.
"""

import os

from a2wsgi import WSGIMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mia.settings")
get_asgi_application()  # Loads the apps; the imports below need them.

from chats.consumers import waiting_chat  # noqa: E402
from mia.routing import http_urlpatterns, socket_router  # noqa: E402
from mia.wsgi import application as wsgi_application  # noqa: E402

django = WSGIMiddleware(wsgi_application, workers=settings.WEB_THREADS)

application = ProtocolTypeRouter(
    {
        "http": URLRouter([*http_urlpatterns, path("chat", waiting_chat(django)), re_path(r"", django)]),
        "websocket": socket_router,
    }
)
