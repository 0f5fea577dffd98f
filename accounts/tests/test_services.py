"""What can be done with businesses, members and keys, by whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts import services
from accounts.choices import AuditAction, KeyKind, Role, TrustDemand
from accounts.keys import digest_key
from accounts.models import ApiKey, AuditEntry, Business, Invitation, Membership, User
from accounts.principals import Principal, PrincipalKind
from accounts.resolution import resolve_key
from accounts.tenancy import platform_scope
from accounts.tests.factories import (
    ApiKeyFactory,
    BusinessFactory,
    InvitationFactory,
    MembershipFactory,
    UserFactory,
)
from mia.lib.errors import ApplicationError, Conflict, Forbidden, InvalidRequest, NotFound

pytestmark = pytest.mark.django_db
PASSWORD = "a quite long and odd password"


def trail(business: Business) -> list[tuple[str, str, str]]:
    """Who did what, oldest first."""
    with platform_scope():
        entries = AuditEntry.objects.for_business(business).order_by("pk")
        return [(entry.actor_label, entry.action, entry.target_type) for entry in entries]


def membership_of(user: User, business: Business) -> Membership:
    with platform_scope():
        return Membership.objects.get(user=user, business=business)


def role_of(user: User, business: Business) -> str:
    return membership_of(user, business).role


class TestBusinesses:
    """Making and erasing tenants."""

    def test_a_business_starts_with_safe_defaults_and_its_owner(self) -> None:
        owner = UserFactory(is_staff=False)
        business = services.create_business(actor=None, name="New", owner=owner)
        assert business.min_trust == TrustDemand.VERIFIED
        assert (business.retention_days, business.time_zone, business.locale) == (365, "UTC", "en")
        assert role_of(owner, business) == Role.OWNER
        assert User.objects.get(pk=owner.pk).is_staff
        assert trail(business) == [("MIA", "created", "accounts.business"), ("MIA", "joined", "accounts.membership")]

    def test_details_are_checked(self, root: User) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            services.create_business(actor=root, name="", time_zone="Mars/Olympus", retention_days=0, min_trust=9)
        assert set(refusal.value.detail) == {"name", "time_zone", "retention_days", "min_trust"}

    def test_only_the_platform_makes_and_erases_businesses(self, alice: User, business: Business) -> None:
        with pytest.raises(Forbidden):
            services.create_business(actor=alice, name="Mine too")
        with pytest.raises(Forbidden):
            services.erase_business(actor=alice, business=business)

    def test_erasing_takes_everything_of_that_business_and_nothing_else(
        self, root: User, alice: User, charlie: User, business: Business, other_business: Business
    ) -> None:
        ApiKeyFactory(business=business)
        InvitationFactory(business=business)
        kept = ApiKeyFactory(business=other_business)
        services.erase_business(actor=root, business=business)
        with platform_scope():
            assert list(Business.objects.all()) == [other_business]
            assert list(ApiKey.objects.all()) == [kept]
            assert not Invitation.objects.exists()
            assert Membership.objects.get().user == charlie
        assert User.objects.filter(pk=alice.pk).exists()


class TestMembers:
    """Roles, and who gives them."""

    def test_an_owner_adds_a_member_who_gets_into_the_admin(self, alice: User, business: Business) -> None:
        user = UserFactory(is_staff=False)
        services.add_member(actor=alice, business=business, user=user, role=Role.AGENT)
        assert user.is_staff
        assert user.roles == {business.pk: Role.AGENT}
        assert trail(business) == [(alice.email, "joined", "accounts.membership")]

    def test_nobody_is_a_member_twice(self, alice: User, bob: User, business: Business) -> None:
        with pytest.raises(Conflict):
            services.add_member(actor=alice, business=business, user=bob, role=Role.ADMIN)

    def test_only_owners_make_and_unmake_owners(self, alice: User, bob: User, business: Business) -> None:
        admin = MembershipFactory(business=business, role=Role.ADMIN).user
        with pytest.raises(Forbidden):
            services.change_member_role(actor=admin, membership=membership_of(bob, business), role=Role.OWNER)
        with pytest.raises(Forbidden):
            services.change_member_role(actor=admin, membership=membership_of(alice, business), role=Role.AGENT)
        with pytest.raises(Forbidden):
            services.remove_member(actor=admin, membership=membership_of(alice, business))
        services.change_member_role(actor=alice, membership=membership_of(bob, business), role=Role.OWNER)
        assert role_of(bob, business) == Role.OWNER

    def test_a_change_of_role_is_on_record(self, alice: User, bob: User, business: Business) -> None:
        services.change_member_role(actor=alice, membership=membership_of(bob, business), role=Role.VIEWER)
        with platform_scope():
            assert AuditEntry.objects.get().changes == {"role": ["agent", "viewer"]}

    def test_the_last_owner_stays(self, alice: User, business: Business) -> None:
        membership = membership_of(alice, business)
        with pytest.raises(Conflict):
            services.change_member_role(actor=alice, membership=membership, role=Role.AGENT)
        with pytest.raises(Conflict):
            services.remove_member(actor=alice, membership=membership)
        assert role_of(alice, business) == Role.OWNER

    def test_anybody_may_leave(self, alice: User, bob: User, business: Business) -> None:
        services.remove_member(actor=bob, membership=membership_of(bob, business))
        with pytest.raises(Membership.DoesNotExist):
            membership_of(bob, business)

    def test_an_agent_manages_nobody(self, alice: User, bob: User, victor: User, business: Business) -> None:
        acts: list[Callable[[], object]] = [
            lambda: services.add_member(actor=bob, business=business, user=UserFactory(), role=Role.VIEWER),
            lambda: services.remove_member(actor=bob, membership=membership_of(victor, business)),
            lambda: services.change_member_role(actor=bob, membership=membership_of(bob, business), role=Role.ADMIN),
            lambda: services.invite_member(actor=bob, business=business, email="x@example.org", role=Role.VIEWER),
        ]
        for act in acts:
            with pytest.raises(Forbidden):
                act()
        assert trail(business) == []

    def test_a_stranger_manages_nobody(self, charlie: User, bob: User, business: Business) -> None:
        with pytest.raises(Forbidden):
            services.remove_member(actor=charlie, membership=membership_of(bob, business))
        with pytest.raises(Forbidden):
            services.issue_api_key(actor=charlie, business=business, kind=KeyKind.SECRET, name="mine")

    @pytest.mark.django_db(transaction=True)
    def test_two_owners_cannot_leave_at_the_same_time(self) -> None:
        business = BusinessFactory()
        owners = [MembershipFactory(business=business, role=Role.OWNER) for _ in range(2)]
        barrier, refusals = threading.Barrier(2), list[Exception]()

        def leave(membership: Membership) -> None:
            barrier.wait(timeout=10)
            try:
                services.remove_member(actor=membership.user, membership=membership)
            except ApplicationError as error:
                refusals.append(error)
            connection.close()

        threads = [threading.Thread(target=leave, args=[membership]) for membership in owners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert [type(error) for error in refusals] == [Conflict]
        with platform_scope():
            assert Membership.objects.get().role == Role.OWNER


class TestInvitations:
    """Links that make somebody a member."""

    def test_a_newcomer_gets_a_login_and_a_role(self, alice: User, business: Business) -> None:
        invitation, token = services.invite_member(
            actor=alice, business=business, email="New@Example.org", role=Role.AGENT
        )
        assert token not in (invitation.token_digest, str(invitation))
        membership = services.accept_invitation(token=token, name="Newcomer", password=PASSWORD)
        user = User.objects.get(email="new@example.org")
        assert user.check_password(PASSWORD)
        assert (user.is_staff, user.is_superuser, user.name) == (True, False, "Newcomer")
        assert (membership.user, membership.role, membership.business_id) == (user, Role.AGENT, business.pk)
        assert trail(business) == [
            (alice.email, "invited", "accounts.invitation"),
            ("new@example.org", "joined", "accounts.membership"),
        ]

    def test_somebody_known_keeps_their_password(self, alice: User, charlie: User, business: Business) -> None:
        _, token = services.invite_member(actor=alice, business=business, email=charlie.email, role=Role.VIEWER)
        services.accept_invitation(token=token, name="Somebody else", password="another password entirely")
        user = User.objects.get(pk=charlie.pk)
        assert user.password == charlie.password
        assert user.name == charlie.name
        assert role_of(user, business) == Role.VIEWER

    def test_a_link_works_once(self, business: Business) -> None:
        token = InvitationFactory(business=business).token
        services.accept_invitation(token=token, name="A", password=PASSWORD)
        with pytest.raises(NotFound):
            services.accept_invitation(token=token, name="B", password=PASSWORD)

    def test_a_link_ends_after_seven_days(self, business: Business) -> None:
        now = timezone.now()
        invitation, token = services.invite_member(
            actor=None, business=business, email="a@example.org", role=Role.AGENT, now=now
        )
        assert invitation.expires_at == now + timedelta(days=7)
        assert services.find_invitation(token=token, now=now + timedelta(days=7, seconds=-1)) == invitation
        with pytest.raises(NotFound):
            services.accept_invitation(token=token, password=PASSWORD, now=now + timedelta(days=7))

    def test_an_unknown_link_opens_nothing(self) -> None:
        with pytest.raises(NotFound):
            services.find_invitation(token="x" * 43)

    def test_a_withdrawn_link_opens_nothing(self, alice: User, business: Business) -> None:
        invitation = InvitationFactory(business=business)
        services.withdraw_invitation(actor=alice, invitation=invitation)
        with pytest.raises(NotFound):
            services.find_invitation(token=invitation.token)

    def test_a_second_invitation_replaces_the_first(self, alice: User, business: Business) -> None:
        first = services.invite_member(actor=alice, business=business, email="a@example.org", role=Role.AGENT)[1]
        second = services.invite_member(actor=alice, business=business, email="A@example.org", role=Role.ADMIN)[1]
        with pytest.raises(NotFound):
            services.find_invitation(token=first)
        assert services.find_invitation(token=second).role == Role.ADMIN

    def test_a_weak_password_leaves_the_invitation_open(self, business: Business) -> None:
        token = InvitationFactory(business=business).token
        with pytest.raises(InvalidRequest) as refusal:
            services.accept_invitation(token=token, name="A", password="short")
        assert "password" in refusal.value.detail
        assert services.find_invitation(token=token)

    def test_members_are_not_invited(self, alice: User, bob: User, business: Business) -> None:
        with pytest.raises(Conflict):
            services.invite_member(actor=alice, business=business, email="BOB@bicycles.example", role=Role.AGENT)

    @pytest.mark.parametrize("email", ["", "nobody", "a@b", "a b@example.org", "x" * 300 + "@example.org"])
    def test_an_address_must_be_one(self, email: str, alice: User, business: Business) -> None:
        with pytest.raises(InvalidRequest):
            services.invite_member(actor=alice, business=business, email=email, role=Role.AGENT)

    def test_only_owners_invite_owners(self, business: Business) -> None:
        admin = MembershipFactory(business=business, role=Role.ADMIN).user
        with pytest.raises(Forbidden):
            services.invite_member(actor=admin, business=business, email="a@example.org", role=Role.OWNER)


class TestKeys:
    """Credentials of a business."""

    def test_a_key_is_stored_as_a_digest(self, alice: User, business: Business) -> None:
        key, plain = services.issue_api_key(actor=alice, business=business, kind=KeyKind.SECRET, name="server")
        assert resolve_key(plain).key_id == key.pk
        assert (key.digest, key.created_by) == (digest_key(plain), alice)
        with platform_scope(), connection.cursor() as cursor:
            cursor.execute("SELECT to_jsonb(k)::text FROM accounts_apikey k")
            assert plain[17:] not in cursor.fetchone()[0]
        assert trail(business) == [(alice.email, "created", "accounts.apikey")]

    def test_origins_are_stored_as_browsers_send_them(self, alice: User, business: Business) -> None:
        key, _ = services.issue_api_key(
            actor=alice,
            business=business,
            kind=KeyKind.PUBLISHABLE,
            name="shop",
            allowed_origins=["https://Shop.example/", "https://shop.example:443", " http://localhost:3000 ", ""],
        )
        assert key.allowed_origins == ["https://shop.example", "http://localhost:3000"]

    @pytest.mark.parametrize(
        "origins", [[], ["*"], ["shop.example"], ["https://shop.example/x"], ["https://a.example"] * 0]
    )
    def test_a_publishable_key_names_real_origins(self, origins: list[str], alice: User, business: Business) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            services.issue_api_key(
                actor=alice, business=business, kind=KeyKind.PUBLISHABLE, name="shop", allowed_origins=origins
            )
        assert set(refusal.value.detail) == {"allowed_origins"}

    def test_fifty_origins_are_enough(self, alice: User, business: Business) -> None:
        origins = [f"https://shop{number}.example" for number in range(51)]
        with pytest.raises(InvalidRequest):
            services.checked_origins(KeyKind.PUBLISHABLE, origins)
        assert len(services.checked_origins(KeyKind.PUBLISHABLE, origins[:50])) == 50

    def test_other_kinds_name_no_origins(self, alice: User, business: Business) -> None:
        with pytest.raises(InvalidRequest):
            services.issue_api_key(
                actor=alice, business=business, kind=KeyKind.SECRET, name="x", allowed_origins=["https://a.example"]
            )

    def test_businesses_hold_no_miner_keys(self, alice: User, business: Business) -> None:
        with pytest.raises(InvalidRequest):
            services.issue_api_key(actor=alice, business=business, kind=KeyKind.MINER, name="x")

    def test_a_key_needs_a_name(self, alice: User, business: Business) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            services.issue_api_key(actor=alice, business=business, kind=KeyKind.SECRET, name="")
        assert set(refusal.value.detail) == {"name"}

    def test_revoking_twice_is_one_entry(self, alice: User, business: Business, secret_key: ApiKey) -> None:
        first = services.revoke_api_key(actor=alice, key=secret_key).revoked_at
        assert services.revoke_api_key(actor=alice, key=secret_key).revoked_at == first
        assert trail(business) == [(alice.email, "revoked", "accounts.apikey")]

    def test_origins_may_change(self, alice: User, publishable_key: ApiKey, business: Business) -> None:
        key = services.change_api_key_origins(actor=alice, key=publishable_key, allowed_origins=["https://new.example"])
        assert resolve_key(publishable_key.plain).allowed_origins == ("https://new.example",)
        with platform_scope():
            assert AuditEntry.objects.get().changes == {
                "allowed_origins": [["https://shop.example"], key.allowed_origins]
            }

    def test_agents_and_other_credentials_make_no_keys(
        self, bob: User, business: Business, other_business: Business
    ) -> None:
        actors = [
            bob,
            Principal(kind=PrincipalKind.CLIENT, business_id=business.pk, key_id=1),
            Principal(kind=PrincipalKind.PUBLISHABLE, business_id=business.pk, key_id=1),
            Principal(kind=PrincipalKind.SECRET, business_id=other_business.pk, key_id=1),
            Principal(kind=PrincipalKind.MINER, key_id=1),
        ]
        for actor in actors:
            with pytest.raises(Forbidden):
                services.issue_api_key(actor=actor, business=business, kind=KeyKind.SECRET, name="x")

    def test_a_secret_key_manages_but_does_not_own(self, business: Business) -> None:
        server = Principal(kind=PrincipalKind.SECRET, business_id=business.pk, key_id=1, label="server")
        services.invite_member(actor=server, business=business, email="a@example.org", role=Role.ADMIN)
        with pytest.raises(Forbidden):
            services.invite_member(actor=server, business=business, email="b@example.org", role=Role.OWNER)
        assert trail(business) == [("server", AuditAction.INVITED, "accounts.invitation")]
