"""Django's last-resort error pages: the one JSON shape for programs, Django's own pages inside the admin."""

import sys
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.views import defaults
from django.views.csrf import csrf_failure as csrf_failure_page

from mia.lib.api import application_error, error_response
from mia.lib.errors import Forbidden, NotFound

ADMIN_PATH = "/admin/"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400: a suspicious or unreadable request."""
    if _is_for_people(request):
        return defaults.bad_request(request, exception)
    return error_response(application_error(exception))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_for_people(request):
        return defaults.permission_denied(request, exception)
    return error_response(Forbidden())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404; says nothing of the address, which Django's own text would repeat."""
    if _is_for_people(request):
        return defaults.page_not_found(request, exception)
    return error_response(NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500, called while the exception is still being handled: a database that is down is a 503, not a defect."""
    error = application_error(sys.exception())
    if _is_for_people(request) and error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return defaults.server_error(request)
    return error_response(error)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if _is_for_people(request):
        return csrf_failure_page(request, reason)
    return error_response(Forbidden("The CSRF token is missing or wrong."))


def _is_for_people(request: HttpRequest) -> bool:
    return request.path.startswith(ADMIN_PATH)
