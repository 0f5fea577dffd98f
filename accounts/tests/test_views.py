"""The page that an invitation opens."""

import pytest
from django.test import Client

from accounts.models import Business, Invitation, Membership, User
from accounts.tenancy import platform_scope
from accounts.tests.factories import InvitationFactory

pytestmark = [pytest.mark.django_db, pytest.mark.urls("accounts.tests.site_urls")]
GOOD = {
    "name": "Nina New",
    "password": "a quite long and odd password",
    "password_again": "a quite long and odd password",
}


@pytest.fixture
def invitation(business: Business) -> Invitation:
    return InvitationFactory(business=business, email="nina@example.org")


def address(token: str) -> str:
    return f"/invitation/{token}/"


def test_the_page_says_who_invites_and_asks_for_a_password(client: Client, invitation: Invitation) -> None:
    response = client.get(address(invitation.token))
    page = response.content.decode()
    assert "Alice&#x27;s Bicycles" in page
    assert "nina@example.org" in page
    assert 'type="password"' in page
    assert response["Referrer-Policy"] == "same-origin"
    assert "no-store" in response["Cache-Control"]
    assert "unsafe-eval" in response["Content-Security-Policy"]


def test_accepting_makes_a_member_who_can_sign_in(client: Client, invitation: Invitation, business: Business) -> None:
    response = client.post(address(invitation.token), GOOD)
    assert response.status_code == 302
    assert response["Location"] == "/admin/"
    assert client.login(username="nina@example.org", password=GOOD["password"])
    with platform_scope():
        assert Membership.objects.get().business == business
    assert client.get("/admin/accounts/membership/").status_code == 200


def test_somebody_known_only_clicks(client: Client, charlie: User, business: Business) -> None:
    invitation = InvitationFactory(business=business, email=charlie.email)
    assert 'type="password"' not in client.get(address(invitation.token)).content.decode()
    assert client.post(address(invitation.token)).status_code == 302
    assert set(User.objects.get(pk=charlie.pk).roles) >= {business.pk}
    assert User.objects.get(pk=charlie.pk).password == charlie.password


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password_again": "another one entirely"}, "The two passwords differ."),
        ({"password": "short", "password_again": "short"}, "too short"),
        ({"password": "password123", "password_again": "password123"}, "too common"),
        ({"name": ""}, "This field is required."),
        ({"name": "x" * 151}, "at most 150 characters"),
    ],
)
def test_a_wrong_answer_is_explained(
    change: dict[str, str], message: str, client: Client, invitation: Invitation
) -> None:
    response = client.post(address(invitation.token), {**GOOD, **change})
    assert response.status_code == 200
    assert message in response.content.decode()
    assert not User.objects.filter(email="nina@example.org").exists()


@pytest.mark.parametrize("token", ["x" * 43, "short", "with space", "%F0%9F%98%80", "y" * 5000])
def test_a_wrong_link_is_404(token: str, client: Client) -> None:
    assert client.get(address(token)).status_code == 404
    assert client.post(address(token), GOOD).status_code == 404


def test_a_used_link_is_404(client: Client, invitation: Invitation) -> None:
    client.post(address(invitation.token), GOOD)
    assert client.get(address(invitation.token)).status_code == 404
    assert client.post(address(invitation.token), GOOD).status_code == 404


def test_accepting_needs_a_csrf_token(invitation: Invitation) -> None:
    assert Client(enforce_csrf_checks=True).post(address(invitation.token), GOOD).status_code == 403
    assert not User.objects.filter(email="nina@example.org").exists()
