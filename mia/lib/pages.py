"""Things that are only read, by browsers and by programs without a key."""

from django.http import HttpRequest, HttpResponse
from django.views import View

from mia.lib.api import error_response
from mia.lib.errors import MethodNotAllowed


class Page(View):
    """Something that is only read."""

    http_method_names = ["get", "head", "options"]

    def http_method_not_allowed(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response = error_response(MethodNotAllowed())
        response["Allow"] = "GET, HEAD, OPTIONS"
        return response
