"""What each role may do."""

import pytest

from accounts.choices import Role
from accounts.models import Business, User
from accounts.permissions import RIGHTS, Right, businesses_with, has_right
from accounts.tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db

TABLE = {
    Role.OWNER: {"read", "work", "manage", "own"},
    Role.ADMIN: {"read", "work", "manage"},
    Role.AGENT: {"read", "work"},
    Role.VIEWER: {"read"},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("right", Right)
def test_a_role_has_its_rights_in_its_business_only(role: Role, right: Right, other_business: Business) -> None:
    membership = MembershipFactory(role=role)
    expected = right.value in TABLE[role]
    assert has_right(membership.user, right, membership.business_id) is expected
    assert has_right(membership.user, right) is expected
    assert not has_right(membership.user, right, other_business.pk)
    assert businesses_with(membership.user, right) == ((membership.business_id,) if expected else ())


def test_every_role_has_rights() -> None:
    assert set(RIGHTS) == set(Role)


def test_rights_differ_between_the_businesses_of_one_person(business: Business, other_business: Business) -> None:
    user = MembershipFactory(business=business, role=Role.ADMIN).user
    MembershipFactory(business=other_business, user=user, role=Role.VIEWER)
    assert has_right(user, Right.MANAGE, business.pk)
    assert not has_right(user, Right.MANAGE, other_business.pk)
    assert has_right(user, Right.READ, other_business.pk)
    assert businesses_with(user, Right.MANAGE) == (business.pk,)


def test_a_superuser_has_every_right(root: User, business: Business) -> None:
    assert has_right(root, Right.OWN, business.pk)
    assert businesses_with(root, Right.OWN) is None


def test_somebody_without_a_business_has_none() -> None:
    assert not has_right(UserFactory(), Right.READ)


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False}])
def test_somebody_locked_out_has_no_right(change: dict[str, bool], alice: User, business: Business, root: User) -> None:
    for user in (alice, root):
        User.objects.filter(pk=user.pk).update(**change)
        assert not has_right(User.objects.get(pk=user.pk), Right.READ, business.pk)
