"""The page that an invitation opens."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from accounts.forms import JoinForm
from accounts.models import Invitation, User
from accounts.services import accept_invitation, find_invitation
from mia.lib.errors import NotFound
from mia.lib.middleware import ADMIN_POLICY


@method_decorator(never_cache, name="dispatch")
class AcceptInvitation(View):
    """Asks somebody new for a name and a password, and somebody known for one click."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        try:
            invitation = find_invitation(token=token)
        except NotFound:
            return gone(request)
        return page(request, invitation, JoinForm(email=invitation.email))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        try:
            return self._accept(request, token)
        except NotFound:
            return gone(request)

    def _accept(self, request: HttpRequest, token: str) -> HttpResponse:
        invitation = find_invitation(token=token)
        form = JoinForm(request.POST, email=invitation.email)
        if is_known(invitation):
            accept_invitation(token=token)
        elif form.is_valid():
            accept_invitation(token=token, name=form.cleaned_data["name"], password=form.cleaned_data["password"])
        else:
            return page(request, invitation, form)
        messages.success(request, _("Welcome! Sign in to begin."))
        return redirect(reverse("admin:index"))


def is_known(invitation: Invitation) -> bool:
    return User.objects.filter(email=invitation.email).exists()


def page(request: HttpRequest, invitation: Invitation, form: JoinForm) -> HttpResponse:
    context = {"invitation": invitation, "form": form, "is_known": is_known(invitation), "title": _("You are invited")}
    response = render(request, "accounts/accept_invitation.html", context)
    # The address is the secret: no other site may learn it. With no-referrer the form would come with Origin: null,
    # which the CSRF protection refuses.
    response["Referrer-Policy"] = "same-origin"
    return as_admin_page(response)


def gone(request: HttpRequest) -> HttpResponse:
    page = render(request, "accounts/invitation_gone.html", {"title": _("This invitation is over")}, status=404)
    return as_admin_page(page)


def as_admin_page(response: HttpResponse) -> HttpResponse:
    """Lets the page run what the admin's layout runs, though its address is not the admin's."""
    response["Content-Security-Policy"] = ADMIN_POLICY
    return response
