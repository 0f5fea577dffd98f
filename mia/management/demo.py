"""The demo shop that `manage.py up` keeps ready: a business with its bot, keys, logins and an enrolment token."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict

from django.utils import timezone

from accounts.choices import KeyKind, Role
from accounts.keys import digest_key, parse_key
from accounts.models import ApiKey, Business, Membership, User
from accounts.services import add_member, change_api_key_origins, create_business, issue_api_key, revoke_api_key
from accounts.tenancy import business_scope, platform_scope
from chats.models import Bot
from knowledge.choices import SourceKind
from knowledge.models import Source
from knowledge.services import add_source
from miners.choices import Trust
from miners.models import EnrolmentToken
from miners.services import create_enrolment_token

BUSINESS: Final = "Fernleaf & Co."
SOURCE_TITLE: Final = "About our shop"
FACTS: Final = Path(__file__).with_name("demo_shop.md")
PERSONA: Final = {
    "name": "Fern",
    "role": "support agent of an online shop for house plants",
    "tone": "warm, brief, practical",
    "business_description": FACTS.read_text(encoding="utf-8"),
    "instructions": "Answer from the facts only. Where they are silent, say so and offer a person.",
    "first_message": "Hello, I am Fern. Ask me about orders, shipping or your plants.",
    "confirmation_message": "Thank you, we will get back to you within one working day.",
    "title": "Ask Fern",
    "color": "#2f6b3c",
}
KEY_NAME: Final = "Demo ({kind})"
MINERS_PER_TOKEN: Final = 1000


class Login(TypedDict):
    """What somebody signs in with."""

    email: str
    password: str


class Demo(TypedDict):
    """Everything that a stranger or a script needs to use the demo."""

    admin: Login
    owner: Login
    agent: Login
    business_id: int
    bot_id: int
    publishable_key: str
    secret_key: str
    client_key: str
    enrolment_token: str


Known = Mapping[str, object]
"""What was written down the last time; whatever of it still holds is kept."""


def bootstrap_demo(*, known: Known, origins: Sequence[str]) -> Demo:
    """Idempotent: makes what is missing, and new keys or passwords for those that `known` does not hold."""
    with platform_scope():
        admin, admin_login = ensure_user("admin", known, is_superuser=True)
        owner, owner_login = ensure_user("owner", known)
        agent, agent_login = ensure_user("agent", known)
        business = ensure_business(admin, owner)
        ensure_member(business, agent, Role.AGENT)
        ensure_knowledge(business)
        return Demo(
            admin=admin_login,
            owner=owner_login,
            agent=agent_login,
            business_id=business.pk,
            bot_id=ensure_bot(business).pk,
            publishable_key=ensure_key(business, KeyKind.PUBLISHABLE, known, origins),
            secret_key=ensure_key(business, KeyKind.SECRET, known),
            client_key=ensure_key(business, KeyKind.CLIENT, known),
            enrolment_token=ensure_enrolment_token(known),
        )


def ensure_user(name: str, known: Known, *, is_superuser: bool = False) -> tuple[User, Login]:
    """The user keeps the password written down; hashing one takes a third of a second."""
    email = f"{name}@fernleaf.example"
    user = User.objects.filter(email=email).first()
    written = known.get(name)
    if user is not None and isinstance(written, dict) and written.get("password"):
        return user, Login(email=email, password=written["password"])
    login = Login(email=email, password=secrets.token_urlsafe(12))
    if user is None:
        user = User(email=email, name=f"Demo {name}", is_staff=True, is_superuser=is_superuser)
    user.set_password(login["password"])
    user.save()
    return user, login


def ensure_business(admin: User, owner: User) -> Business:
    membership = Membership.objects.filter(user=owner).select_related("business").first()
    if membership is not None:
        return membership.business
    return create_business(
        actor=admin, name=BUSINESS, owner=owner, contact_email="hello@fernleaf.example", time_zone="Europe/London"
    )


def ensure_member(business: Business, user: User, role: Role) -> None:
    if not Membership.objects.for_business(business).filter(user=user).exists():
        add_member(actor=None, business=business, user=user, role=role)


def ensure_bot(business: Business) -> Bot:
    with business_scope(business.pk):
        bot: Bot | None = Bot.objects.for_business(business).filter(is_default=True).first()
        return bot or Bot.objects.create(business=business, is_default=True, **PERSONA)


def ensure_knowledge(business: Business) -> None:
    """The same facts as a source, so that answers show where they come from; trained by the worker in a moment."""
    with business_scope(business.pk):
        if not Source.objects.for_business(business).exists():
            source = Source(business_id=business.pk, kind=SourceKind.TEXT, title=SOURCE_TITLE)
            source.text = FACTS.read_text(encoding="utf-8")
            add_source(source=source, requested_by=str(business), now=timezone.now())


def ensure_key(business: Business, kind: KeyKind, known: Known, origins: Sequence[str] = ()) -> str:
    plain = str(known.get(f"{kind}_key", ""))
    key = find_key(business, plain)
    if key is None:
        revoke_lost_keys(business, kind)
        name = KEY_NAME.format(kind=kind.label)
        _key, plain = issue_api_key(actor=None, business=business, kind=kind, name=name, allowed_origins=origins)
    elif set(origins) - set(key.allowed_origins):
        change_api_key_origins(actor=None, key=key, allowed_origins=[*key.allowed_origins, *origins])
    return plain


def find_key(business: Business, plain: str) -> ApiKey | None:
    """The key, if it still opens this business."""
    parsed = parse_key(plain)
    if parsed is None:
        return None
    keys = ApiKey.objects.for_business(business).live(timezone.now()).with_prefix(parsed.prefix)
    return keys.filter(digest=digest_key(plain)).first()


def revoke_lost_keys(business: Business, kind: KeyKind) -> None:
    """Keys of ours whose text nobody has any more."""
    for key in ApiKey.objects.for_business(business).live(timezone.now()).filter(name=KEY_NAME.format(kind=kind.label)):
        revoke_api_key(actor=None, key=key)


def ensure_enrolment_token(known: Known) -> str:
    now = timezone.now()
    written = str(known.get("enrolment_token", ""))
    token = EnrolmentToken.objects.filter(digest=digest_key(written)).first() if written else None
    if token is not None and token.is_usable(now):
        return written
    _token, plain = create_enrolment_token(name="Demo", trust=Trust.VERIFIED, max_uses=MINERS_PER_TOKEN)
    return plain
