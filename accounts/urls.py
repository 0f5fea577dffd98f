"""The pages of accounts that need no login."""

from django.urls import path

from accounts.views import AcceptInvitation

urlpatterns = [
    path("invitation/<str:token>/", AcceptInvitation.as_view(), name="accept-invitation"),
]
