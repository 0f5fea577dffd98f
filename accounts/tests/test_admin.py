"""The admin of accounts: what each role is shown, what it may do, and that strangers get 404."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import models
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.choices import KeyKind, Role
from accounts.models import ApiKey, AuditEntry, Business, Invitation, JwtIssuer, Membership, User
from accounts.resolution import resolve_key
from accounts.scoped_admin import SuperuserModelAdmin, TenantModelAdmin
from accounts.services import record_audit
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import (
    ApiKeyFactory,
    InvitationFactory,
    JwtIssuerFactory,
    MembershipFactory,
    UserFactory,
)
from accounts.tests.tokens import public_pem, rsa_key

pytestmark = [pytest.mark.django_db, pytest.mark.urls("accounts.tests.site_urls")]
LogIn = Callable[[User], Client]
MODELS = [Business, Membership, Invitation, ApiKey, JwtIssuer, AuditEntry]
SECRET_WORDS = "Canary Chocolates"


def url(model: type[models.Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def text(response: HttpResponse) -> str:
    return response.content.decode()


def rows_of(model: type[models.Model], business: Business) -> Iterator[models.Model]:
    with platform_scope():
        lookup = {"pk": business.pk} if model is Business else {"business": business}
        yield from list(model._default_manager.filter(**lookup))


@pytest.fixture
def full_business(other_business: Business, charlie: User) -> Business:
    """Charlie's business, with the same words in every row of it."""
    with platform_scope():
        Business.objects.filter(pk=other_business.pk).update(name=SECRET_WORDS, contact_email="canary@example.org")
        User.objects.filter(pk=charlie.pk).update(name=SECRET_WORDS)
    other_business.refresh_from_db = lambda *args, **kwargs: None  # type: ignore[method-assign]
    ApiKeyFactory(business=other_business, name=SECRET_WORDS, kind=KeyKind.PUBLISHABLE)
    InvitationFactory(business=other_business, email="canary@example.org")
    JwtIssuerFactory(business=other_business, issuer=SECRET_WORDS, public_key_pem=public_pem(rsa_key()))
    with business_scope(other_business.pk):
        record_audit(actor=charlie, business=other_business, action="created", target=charlie)
    return other_business


def pages_of(model: type[models.Model], row: models.Model) -> list[str]:
    return [url(model, page, row.pk) for page in ("change", "delete", "history")]


def test_every_admin_of_a_tenant_table_has_the_scoping_base() -> None:
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label in {"accounts", "chats", "miners"}:
            assert isinstance(model_admin, TenantModelAdmin), model


@pytest.mark.parametrize("model", MODELS)
def test_a_stranger_gets_404_for_each_page_of_a_row(
    model: type[models.Model], full_business: Business, alice: User, log_in: LogIn
) -> None:
    client = log_in(alice)
    rows = list(rows_of(model, full_business))
    assert rows
    for row in rows:
        for address in pages_of(model, row):
            for response in (client.get(address), client.post(address, {"post": "yes"})):
                assert response.status_code in {403, 404}, address
                assert SECRET_WORDS not in text(response)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("query", ["", "?q=canary", "?q=Canary", "?o=1", "?business__id__exact={id}", "?all=", "?p=0"])
def test_a_stranger_sees_nothing_in_lists(
    model: type[models.Model], query: str, full_business: Business, alice: User, log_in: LogIn
) -> None:
    response = log_in(alice).get(url(model, "changelist") + query.format(id=full_business.pk))
    assert response.status_code in {200, 302, 400}
    assert SECRET_WORDS not in text(response)
    assert "canary@example.org" not in text(response)


@pytest.mark.parametrize("model", MODELS)
def test_a_stranger_cannot_act_on_chosen_rows(
    model: type[models.Model], full_business: Business, alice: User, log_in: LogIn
) -> None:
    rows = list(rows_of(model, full_business))
    for name in ("delete_selected", "revoke_selected"):
        data = {"action": name, "_selected_action": [row.pk for row in rows], "post": "yes"}
        log_in(alice).post(url(model, "changelist"), data)
    assert len(list(rows_of(model, full_business))) == len(rows)
    with platform_scope():
        assert not ApiKey.objects.exclude(revoked_at=None).exists()


def test_forms_offer_the_people_and_businesses_in_sight_only(
    full_business: Business, alice: User, bob: User, business: Business, log_in: LogIn
) -> None:
    MembershipFactory(user=alice, business__name="Alice's Boats", role=Role.OWNER)
    page = text(log_in(alice).get(url(Invitation, "add")))
    assert "Alice&#x27;s Bicycles" in page
    assert "Alice&#x27;s Boats" in page
    assert SECRET_WORDS not in page


def test_a_foreign_business_in_a_form_is_refused(full_business: Business, alice: User, log_in: LogIn) -> None:
    MembershipFactory(user=alice, role=Role.OWNER)
    data = {"business": full_business.pk, "email": "a@example.org", "role": "agent"}
    response = log_in(alice).post(url(Invitation, "add"), data)
    assert response.status_code == 200
    assert "not one of the available choices" in text(response)
    with platform_scope():
        assert not Invitation.objects.filter(email="a@example.org").exists()


def test_somebody_with_one_business_neither_sees_nor_chooses_it(
    alice: User, business: Business, other_business: Business, log_in: LogIn
) -> None:
    client = log_in(alice)
    assert 'name="business"' not in text(client.get(url(Invitation, "add")))
    client.post(url(Invitation, "add"), {"business": other_business.pk, "email": "a@example.org", "role": "agent"})
    with platform_scope():
        assert Invitation.objects.get(email="a@example.org").business == business


def test_filters_offer_what_is_in_sight_only(full_business: Business, alice: User, log_in: LogIn) -> None:
    MembershipFactory(user=alice, business__name="Alice's Boats", role=Role.OWNER)
    for model in (Membership, Invitation, ApiKey, JwtIssuer, AuditEntry):
        page = text(log_in(alice).get(url(model, "changelist")))
        assert SECRET_WORDS not in page
        assert "Alice&#x27;s Boats" in page


@pytest.mark.parametrize(
    "lookup", ["digest__startswith", "token_digest__startswith", "created_by__password__startswith"]
)
def test_secrets_are_not_guessed_through_the_address_of_a_list(
    lookup: str, alice: User, secret_key: ApiKey, log_in: LogIn
) -> None:
    response = log_in(alice).get(f"{url(ApiKey, 'changelist')}?{lookup}=a")
    assert response.status_code in {302, 400}


PERMITTED = {
    # model: roles that may list, add, change, delete
    Business: ({"owner", "admin", "agent", "viewer"}, set(), {"owner", "admin"}, set()),
    Membership: ({"owner", "admin", "agent", "viewer"}, set(), {"owner", "admin"}, {"owner", "admin"}),
    Invitation: ({"owner", "admin"}, {"owner", "admin"}, set(), {"owner", "admin"}),
    ApiKey: ({"owner", "admin"}, {"owner", "admin"}, {"owner", "admin"}, set()),
    JwtIssuer: ({"owner", "admin"}, {"owner", "admin"}, {"owner", "admin"}, {"owner", "admin"}),
    AuditEntry: ({"owner", "admin"}, set(), set(), set()),
    User: (set(), set(), set(), set()),
}


@pytest.mark.parametrize("model", PERMITTED)
@pytest.mark.parametrize("role", Role.values)
def test_each_role_may_what_the_table_says(
    model: type[models.Model], role: str, full_business: Business, log_in: LogIn
) -> None:
    user = MembershipFactory(business=full_business, role=role).user
    client = log_in(user)
    can_list, can_add, can_change, can_delete = ({*roles} for roles in PERMITTED[model])
    row = User.objects.first() if model is User else next(rows_of(model, full_business))
    assert row is not None
    assert (client.get(url(model, "changelist")).status_code == 200) is (role in can_list)
    assert (client.get(url(model, "add")).status_code == 200) is (role in can_add)
    change = client.get(url(model, "change", row.pk))
    assert (change.status_code == 200) is (role in can_list)
    assert ('name="_save"' in text(change)) is (role in can_change)
    assert (client.get(url(model, "delete", row.pk)).status_code == 200) is (role in can_delete)


@pytest.mark.parametrize("model", [*MODELS, User])
def test_a_superuser_sees_every_page(
    model: type[models.Model], full_business: Business, root: User, log_in: LogIn
) -> None:
    client = log_in(root)
    row = root if model is User else next(rows_of(model, full_business))
    for address in (url(model, "changelist"), url(model, "change", row.pk), url(model, "history", row.pk)):
        assert client.get(address).status_code == 200, address
    if model is not AuditEntry:
        assert client.get(url(model, "add")).status_code == 200


def test_nobody_is_sent_to_sign_in(client: Client, secret_key: ApiKey) -> None:
    for model in MODELS:
        assert client.get(url(model, "changelist")).status_code == 302


def test_a_key_is_shown_once_with_its_snippet(alice: User, business: Business, log_in: LogIn) -> None:
    client = log_in(alice)
    response = client.post(
        url(ApiKey, "add"),
        {"kind": "publishable", "name": "shop", "allowed_origins": "https://Shop.example/\nhttp://localhost:3000"},
    )
    page = text(response)
    with platform_scope():
        key = ApiKey.objects.get()
    plain = page.split('id="made-key">')[1].split("<")[0]
    assert resolve_key(plain).key_id == key.pk
    assert key.allowed_origins == ["https://shop.example", "http://localhost:3000"]
    assert f"data-key=&quot;{plain}&quot;" in page
    assert "http://testserver/widget.js" in page
    assert "no-store" in response["Cache-Control"]
    for address in (url(ApiKey, "changelist"), url(ApiKey, "change", key.pk), url(ApiKey, "history", key.pk)):
        assert plain not in text(client.get(address))


def test_a_key_with_a_wrong_origin_is_not_made(alice: User, log_in: LogIn) -> None:
    data = {"kind": "publishable", "name": "shop", "allowed_origins": "https://shop.example/page"}
    response = log_in(alice).post(url(ApiKey, "add"), data)
    assert "https://shop.example/page is not an origin" in text(response)
    with platform_scope():
        assert not ApiKey.objects.exists()


def test_the_kind_and_the_secret_of_a_key_do_not_change(alice: User, publishable_key: ApiKey, log_in: LogIn) -> None:
    data = {"name": "renamed", "allowed_origins": "https://new.example", "kind": "secret", "digest": "x", "prefix": "y"}
    response = log_in(alice).post(url(ApiKey, "change", publishable_key.pk), data)
    assert response.status_code == 302
    principal = resolve_key(publishable_key.plain)
    assert (principal.kind, principal.allowed_origins) == ("publishable", ("https://new.example",))
    with platform_scope():
        assert AuditEntry.objects.get().changes == {
            "name": ["a key", "renamed"],
            "allowed_origins": [["https://shop.example"], ["https://new.example"]],
        }


def test_a_key_is_revoked_by_a_button_and_in_bulk(alice: User, business: Business, log_in: LogIn) -> None:
    client = log_in(alice)
    first, second = ApiKeyFactory.create_batch(2, business=business)
    assert 'name="accounts_apikey_revoke"' in text(client.get(url(ApiKey, "change", first.pk)))
    client.post(url(ApiKey, "change", first.pk), {"name": "a key", "accounts_apikey_revoke": "1"})
    client.post(url(ApiKey, "changelist"), {"action": "revoke_selected", "_selected_action": [second.pk]})
    with platform_scope():
        assert ApiKey.objects.filter(revoked_at=None).count() == 0
        assert AuditEntry.objects.filter(action="revoked", actor_label=alice.email).count() == 2
    assert 'name="accounts_apikey_revoke"' not in text(client.get(url(ApiKey, "change", first.pk)))


def test_revoking_takes_the_right_in_the_business_of_the_key(alice: User, log_in: LogIn) -> None:
    key = ApiKeyFactory()
    MembershipFactory(user=alice, business=key.business, role=Role.VIEWER)
    data = {"action": "revoke_selected", "_selected_action": [key.pk]}
    log_in(alice).post(url(ApiKey, "changelist"), data)
    with platform_scope():
        assert ApiKey.objects.get(pk=key.pk).revoked_at is None


def test_an_invitation_shows_its_link_once(alice: User, log_in: LogIn) -> None:
    client = log_in(alice)
    page = text(client.post(url(Invitation, "add"), {"email": "Nina@Example.org", "role": "agent"}))
    link = page.split('id="invitation-link">')[1].split("<")[0]
    assert link.startswith("http://testserver/invitation/")
    assert client.get(link).status_code == 200
    with platform_scope():
        invitation = Invitation.objects.get()
    assert invitation.email == "nina@example.org"
    assert link.rsplit("/", 2)[1] not in text(client.get(url(Invitation, "change", invitation.pk)))


def test_an_admin_cannot_invite_an_owner(business: Business, log_in: LogIn) -> None:
    admin_user = MembershipFactory(business=business, role=Role.ADMIN).user
    response = log_in(admin_user).post(url(Invitation, "add"), {"email": "a@example.org", "role": "owner"})
    assert "Only owners decide who owns the business." in text(response)


def test_a_role_is_changed_through_the_service(alice: User, bob: User, business: Business, log_in: LogIn) -> None:
    with platform_scope():
        membership = Membership.objects.get(user=bob)
    log_in(alice).post(url(Membership, "change", membership.pk), {"role": "admin", "user": alice.pk})
    with platform_scope():
        membership.refresh_from_db()
        assert (membership.role, membership.user) == (Role.ADMIN, bob)
        assert AuditEntry.objects.get().changes == {"role": ["agent", "admin"]}


def test_what_a_service_refuses_is_said_and_undone(alice: User, log_in: LogIn) -> None:
    with platform_scope():
        membership = Membership.objects.get(user=alice)
    client = log_in(alice)
    for address, data in (
        (url(Membership, "change", membership.pk), {"role": "viewer"}),
        (url(Membership, "delete", membership.pk), {"post": "yes"}),
    ):
        page = text(client.post(address, data, follow=True))
        assert "A business keeps at least one owner" in page
    with platform_scope():
        assert Membership.objects.get(user=alice).role == Role.OWNER


def test_an_owner_changes_their_business_and_it_is_on_record(alice: User, business: Business, log_in: LogIn) -> None:
    data = {
        "name": "Bikes", "contact_email": business.contact_email, "contact_phone": "", "locale": "de-CH",
        "time_zone": "Europe/Zurich", "min_trust": "2", "retention_days": "30",
    }  # fmt: skip
    prefixes = {"membership_set": 0, "apikey_set": 0}
    forms = {f"{name}-{part}_FORMS": count for name, count in prefixes.items() for part in ("TOTAL", "INITIAL")}
    response = log_in(alice).post(url(Business, "change", business.pk), {**data, **forms})
    assert response.status_code == 302, text(response)
    with platform_scope():
        changes = AuditEntry.objects.get().changes
    assert changes["name"] == ["Alice's Bicycles", "Bikes"]
    assert changes["min_trust"] == [1, 2]


def test_time_zones_are_chosen_and_not_typed(alice: User, business: Business, log_in: LogIn) -> None:
    client = log_in(alice)
    assert '<option value="Europe/Zurich">' in text(client.get(url(Business, "change", business.pk)))
    response = client.post(url(Business, "change", business.pk), {"name": "Bikes", "time_zone": "Mars/Olympus"})
    assert "not one of the available choices" in text(response)


def test_people_are_not_found_by_typing(alice: User, full_business: Business, log_in: LogIn) -> None:
    query = {"app_label": "accounts", "model_name": "membership", "field_name": "user", "term": "canary"}
    response = log_in(alice).get(reverse("admin:autocomplete"), query)
    assert response.status_code == 403
    assert SECRET_WORDS not in text(response)


def test_a_duplicate_is_an_error_in_the_form_and_no_failure(alice: User, business: Business, log_in: LogIn) -> None:
    pem = public_pem(rsa_key())
    JwtIssuerFactory(business=business, issuer="https://id.example/", public_key_pem=pem)
    data = {"issuer": "https://id.example/", "audience": "mia", "public_key_pem": pem, "active": "on"}
    response = log_in(alice).post(url(JwtIssuer, "add"), data)
    assert response.status_code == 200
    assert "already exists" in text(response)


def test_a_superuser_erases_a_business_with_all_that_belongs_to_it(
    full_business: Business, root: User, business: Business, log_in: LogIn
) -> None:
    client = log_in(root)
    assert client.get(url(Business, "delete", full_business.pk)).status_code == 200
    assert client.post(url(Business, "delete", full_business.pk), {"post": "yes"}).status_code == 302
    with platform_scope():
        assert list(Business.objects.all()) == [business]
        assert AuditEntry.objects.get(action="erased").actor_label == root.email


def test_a_superuser_makes_people_and_the_change_is_on_record_without_the_password(root: User, log_in: LogIn) -> None:
    data = {
        "email": "Nina@Example.org", "name": "Nina", "usable_password": "true",
        "password1": "a quite long and odd password", "password2": "a quite long and odd password",
    }  # fmt: skip
    response = log_in(root).post(url(User, "add"), data)
    assert response.status_code == 302, text(response)
    assert User.objects.get(email="nina@example.org").check_password("a quite long and odd password")
    with platform_scope():
        assert "odd password" not in str(AuditEntry.objects.get().changes)


def test_lists_say_what_to_do_when_they_are_empty(alice: User, log_in: LogIn) -> None:
    client = log_in(alice)
    assert "Add a publishable key to put the widget on a website" in text(client.get(url(ApiKey, "changelist")))
    assert "Invite a colleague" in text(client.get(url(Invitation, "changelist")))
    assert "Invite a colleague" not in text(client.get(url(Invitation, "changelist") + "?q=nobody"))


def test_states_are_shown(alice: User, business: Business, log_in: LogIn) -> None:
    now = timezone.now()
    ApiKeyFactory(business=business, name="revoked key", revoked=True)
    ApiKeyFactory(business=business, name="expired key", expired=True)
    ApiKeyFactory(business=business, name="live key", last_used_at=now)
    InvitationFactory(business=business, expires_at=now - timedelta(days=1))
    client = log_in(alice)
    page = text(client.get(url(ApiKey, "changelist")))
    for state in ("Revoked", "Expired", "Live"):
        assert state in page
    live = text(client.get(url(ApiKey, "changelist") + "?state=live"))
    assert "live key" in live
    assert "expired key" not in live
    ended = text(client.get(url(ApiKey, "changelist") + "?state=ended"))
    assert "live key" not in ended
    assert "revoked key" in ended
    assert "Expired" in text(client.get(url(Invitation, "changelist")))


def test_the_people_of_the_platform_are_no_business_of_anybody_else(alice: User, log_in: LogIn) -> None:
    assert isinstance(admin.site._registry[User], SuperuserModelAdmin)
    stranger = UserFactory(name=SECRET_WORDS)
    client = log_in(alice)
    for address in (url(User, "changelist"), url(User, "change", stranger.pk), url(User, "add")):
        response = client.get(address)
        assert response.status_code in {403, 404}
        assert SECRET_WORDS not in text(response)
