"""Makes rows of accounts for tests of any app; each is written under platform scope, as no scope writes nothing."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import factory
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from accounts.choices import KeyKind, Role
from accounts.keys import new_key, random_text
from accounts.models import ApiKey, Business, Invitation, JwtIssuer, Membership, User
from accounts.services import digest_invitation_token
from accounts.tenancy import platform_scope

PASSWORD = "correct horse battery staple"
ORIGIN = "https://shop.example"


@cache
def hashed_password() -> str:
    """Hashed once: it is meant to be slow."""
    return make_password(PASSWORD)


class PlatformFactory(factory.django.DjangoModelFactory):
    """A factory for any table under row-level security."""

    class Meta:
        abstract = True

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        with platform_scope():
            return super()._create(model_class, *args, **kwargs)


class UserFactory(factory.django.DjangoModelFactory):
    """A person who may open the admin; `superuser=True` for platform staff."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    class Params:
        superuser = factory.Trait(is_superuser=True)

    email = factory.Sequence(lambda number: f"person{number}@example.org")
    name = factory.Sequence(lambda number: f"Person {number}")
    is_staff = True

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._create(model_class, *args, **{"password": hashed_password(), **kwargs})


class BusinessFactory(PlatformFactory):
    """A tenant."""

    class Meta:
        model = Business

    name = factory.Sequence(lambda number: f"Business {number}")
    contact_email = factory.Sequence(lambda number: f"contact{number}@example.org")


class MembershipFactory(PlatformFactory):
    """Somebody's role in a business."""

    class Meta:
        model = Membership

    business = factory.SubFactory(BusinessFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.AGENT


class ApiKeyFactory(PlatformFactory):
    """A key whose text is in `.plain`; publishable ones may be used from ORIGIN."""

    class Meta:
        model = ApiKey

    class Params:
        revoked = factory.Trait(revoked_at=factory.LazyFunction(timezone.now))
        expired = factory.Trait(expires_at=factory.LazyFunction(lambda: timezone.now() - timedelta(seconds=1)))

    business = factory.SubFactory(BusinessFactory)
    kind = KeyKind.SECRET
    name = "a key"
    allowed_origins = factory.LazyAttribute(lambda key: [ORIGIN] if key.kind == KeyKind.PUBLISHABLE else [])

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        made = new_key(KeyKind(kwargs["kind"]))
        key = super()._create(model_class, *args, prefix=made.prefix, digest=made.digest, **kwargs)
        key.plain = made.plain
        return key


class InvitationFactory(PlatformFactory):
    """An invitation whose link ends with `.token`."""

    class Meta:
        model = Invitation

    business = factory.SubFactory(BusinessFactory)
    email = factory.Sequence(lambda number: f"invited{number}@example.org")
    role = Role.AGENT
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=7))

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        token = random_text(43)
        invitation = super()._create(model_class, *args, token_digest=digest_invitation_token(token), **kwargs)
        invitation.token = token
        return invitation


class JwtIssuerFactory(PlatformFactory):
    """Somebody whose tokens a business accepts; give `public_key_pem` or `jwks_url`."""

    class Meta:
        model = JwtIssuer

    business = factory.SubFactory(BusinessFactory)
    issuer = factory.Sequence(lambda number: f"https://id{number}.example.org/")
    audience = "mia"
