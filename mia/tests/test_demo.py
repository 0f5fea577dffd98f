"""The demo shop: made once, mended where something is missing, and never given the same credential twice."""

import pytest
from django.contrib.auth import authenticate
from django.utils import timezone

from accounts.choices import Role
from accounts.models import ApiKey, Business, Membership, User
from accounts.services import revoke_api_key
from accounts.tenancy import business_scope, platform_scope
from chats.models import Bot
from mia.management.demo import Demo, bootstrap_demo
from miners.choices import Trust
from miners.models import EnrolmentToken

ORIGINS = ["http://127.0.0.1:8000", "http://localhost:8000"]
KEYS = ("publishable_key", "secret_key", "client_key")

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo() -> Demo:
    return bootstrap_demo(known={}, origins=ORIGINS)


def live_keys() -> list[ApiKey]:
    with platform_scope():
        return list(ApiKey.objects.live(timezone.now()).order_by("kind"))


def test_second_run_with_what_is_known_changes_nothing(demo: Demo) -> None:
    assert bootstrap_demo(known=demo, origins=ORIGINS) == demo
    with platform_scope():
        assert (Business.objects.count(), User.objects.count(), Bot.objects.count()) == (1, 3, 1)
    assert len(live_keys()) == 3


@pytest.mark.parametrize(("who", "role"), [("owner", Role.OWNER), ("agent", Role.AGENT)])
def test_staff_of_the_shop_can_sign_in_and_have_their_role(demo: Demo, who: str, role: Role) -> None:
    user = authenticate(username=demo[who]["email"], password=demo[who]["password"])
    with platform_scope():
        assert Membership.objects.get(user=user).role == role


def test_admin_is_staff_of_the_platform(demo: Demo) -> None:
    user = authenticate(username=demo["admin"]["email"], password=demo["admin"]["password"])
    assert isinstance(user, User)
    assert (user.is_superuser, user.is_staff) == (True, True)


def test_lost_file_brings_new_passwords_and_keys_and_ends_the_old_keys(demo: Demo) -> None:
    again = bootstrap_demo(known={}, origins=ORIGINS)
    assert [name for name in KEYS if again[name] == demo[name]] == []
    assert len(live_keys()) == 3
    assert authenticate(username=demo["admin"]["email"], password=demo["admin"]["password"]) is None
    assert authenticate(username=again["admin"]["email"], password=again["admin"]["password"]) is not None


def test_emptied_database_replaces_what_it_no_longer_knows(demo: Demo) -> None:
    with platform_scope():
        Bot.objects.all().delete()
        Business.objects.all().delete()
        User.objects.all().delete()
        EnrolmentToken.objects.all().delete()
    again = bootstrap_demo(known=demo, origins=ORIGINS)
    assert again["business_id"] != demo["business_id"]
    assert [name for name in (*KEYS, "enrolment_token") if again[name] == demo[name]] == []
    assert authenticate(username=again["agent"]["email"], password=again["agent"]["password"]) is not None


def test_revoked_key_is_replaced_and_the_others_are_kept(demo: Demo) -> None:
    secret = next(key for key in live_keys() if key.kind == "secret")
    revoke_api_key(actor=None, key=secret)
    again = bootstrap_demo(known=demo, origins=ORIGINS)
    assert [name for name in KEYS if again[name] != demo[name]] == ["secret_key"]


def test_another_port_is_added_to_the_origins(demo: Demo) -> None:
    again = bootstrap_demo(known=demo, origins=["http://127.0.0.1:8001"])
    assert again["publishable_key"] == demo["publishable_key"]
    key = next(key for key in live_keys() if key.kind == "publishable")
    assert key.allowed_origins == [*ORIGINS, "http://127.0.0.1:8001"]


def test_local_miner_may_answer_customers_at_once(demo: Demo) -> None:
    token = EnrolmentToken.objects.get()
    assert (token.trust, token.is_usable(timezone.now())) == (Trust.VERIFIED, True)


def test_bot_knows_the_shop_and_changes_made_to_it_stay(demo: Demo) -> None:
    with business_scope(demo["business_id"]):
        bot = Bot.objects.get(pk=demo["bot_id"])
        assert len(bot.business_description.split()) > 800
        Bot.objects.filter(pk=bot.pk).update(name="Rosemary")
    bootstrap_demo(known=demo, origins=ORIGINS)
    with business_scope(demo["business_id"]):
        assert Bot.objects.get(pk=demo["bot_id"]).name == "Rosemary"
