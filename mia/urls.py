"""Every address that Django serves; the hot lane's and the sockets' are in `mia.routing`."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

from mia import health, metrics

urlpatterns = [
    path("", health.RootView.as_view(), name="root"),
    path("health", health.LiveView.as_view(), name="health"),
    path("health/live", health.LiveView.as_view(), name="health-live"),
    path("health/ready", health.ReadyView.as_view(), name="health-ready"),
    path("health/detailed", health.DetailedView.as_view(), name="health-detailed"),
    path("metrics", metrics.MetricsView.as_view(), name="metrics"),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("redoc", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    path("admin/rq/", include("mia.admin.queues")),
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("", include("miners.urls")),
    path("", include("knowledge.urls")),
    path("", include("chats.urls")),
]

handler400 = "mia.handlers.bad_request"
handler403 = "mia.handlers.permission_denied"
handler404 = "mia.handlers.page_not_found"
handler500 = "mia.handlers.server_error"
