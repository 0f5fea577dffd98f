"""The one ASGI application: sockets and the hot lane natively, everything else through Django's WSGI handler.

Django's own ASGI handler costs four to ten times what its WSGI handler costs per request, since each synchronous
middleware crosses threads, and pins a thread to every open request. So Django runs behind one thread hop, in a pool
of WEB_THREADS, and nothing that waits is routed to it.
"""

import os
from typing import Any, cast

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mia.settings")
get_asgi_application()  # Loads the apps; the imports below need them.

from chats.consumers import waiting_chat  # noqa: E402
from chats.openai_api.endpoint import CompletionEndpoint, EmbeddingsEndpoint  # noqa: E402
from mia.lib.bridge import WsgiBridge  # noqa: E402
from mia.lib.hot import route  # noqa: E402
from mia.routing import http_urlpatterns, socket_router  # noqa: E402
from mia.wsgi import application as wsgi_application  # noqa: E402

django = WsgiBridge(wsgi_application, threads=settings.WEB_THREADS)
awaited = [
    route("chat", waiting_chat(django)),
    route("v1/chat/completions", CompletionEndpoint.around(django)),
    route("v1/embeddings", EmbeddingsEndpoint.around(django)),
]
everything_else: Any = re_path(r"", cast(Any, django))

application = ProtocolTypeRouter(
    {
        "http": URLRouter([*http_urlpatterns, *awaited, everything_else]),
        "websocket": socket_router,
    }
)
