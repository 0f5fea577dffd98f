"""Who is asking, and which businesses they may see."""

import pytest
from django.contrib.auth.models import AnonymousUser

from accounts.models import Business, User
from accounts.principals import Principal, PrincipalKind, principal_of_user, visible_business_ids


@pytest.mark.parametrize("kind", ["publishable", "secret", "client", "dashboard"])
def test_a_tenant_principal_sees_its_own_business(kind: str) -> None:
    assert visible_business_ids(Principal(kind=PrincipalKind(kind), business_id=7)) == (7,)


def test_a_tenant_principal_without_a_business_sees_nothing() -> None:
    assert visible_business_ids(Principal(kind=PrincipalKind.SECRET)) == ()


def test_a_miner_is_not_confined() -> None:
    assert visible_business_ids(Principal(kind=PrincipalKind.MINER, key_id=1)) is None


def test_nobody_sees_nothing() -> None:
    assert visible_business_ids(AnonymousUser()) == ()


@pytest.mark.django_db
def test_a_member_sees_their_businesses(alice: User, business: Business, charlie: User) -> None:
    assert visible_business_ids(alice) == (business.pk,)
    assert visible_business_ids(principal_of_user(alice)) == (business.pk,)
    assert business.pk not in (visible_business_ids(charlie) or ())


@pytest.mark.django_db
def test_a_superuser_sees_everything(root: User) -> None:
    assert visible_business_ids(root) is None
    assert visible_business_ids(principal_of_user(root)) is None


@pytest.mark.django_db
def test_claims_of_a_dashboard_make_nobody_a_superuser() -> None:
    forged = Principal(kind=PrincipalKind.DASHBOARD, business_id=7, claims={"superuser": True})
    assert visible_business_ids(forged) == (7,)


def test_what_tells_principals_apart_names_no_secret() -> None:
    assert Principal(kind=PrincipalKind.SECRET, business_id=1, key_id=5).pk == "secret:5"
    assert Principal(kind=PrincipalKind.DASHBOARD, business_id=1).pk == "dashboard:1"
    assert str(Principal(kind=PrincipalKind.SECRET, key_id=5, label="shop server")) == "shop server"
