"""Users, businesses, and the people, keys and token issuers that act for a business."""

from __future__ import annotations

import zoneinfo
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from accounts import querysets
from accounts.choices import AuditAction, KeyKind, Role, TrustDemand
from accounts.keys import key_hint
from accounts.tenancy import TenantModel, TenantQuerySet


def check_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(_("Choose a time zone by its IANA name, such as Europe/Zurich."))


class UserManager(BaseUserManager["User"]):
    """Makes users, who sign in with an e-mail address in lower case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email.lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person with a login; what they may see is decided by their memberships, or by is_superuser."""

    email = models.EmailField(
        _("e-mail"), unique=True, error_messages={"unique": _("Somebody already uses this address.")}
    )
    name = models.CharField(_("name"), max_length=150, blank=True)
    is_staff = models.BooleanField(_("may open the admin"), default=False)
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Untick instead of deleting the person."))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        ordering = ["email"]
        constraints = [
            models.CheckConstraint(name="user_email_is_lower_case", condition=Q(email=Lower("email"))),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    def clean(self) -> None:
        self.email = (self.email or "").lower()

    def get_full_name(self) -> str:
        return str(self)

    def get_short_name(self) -> str:
        return self.name.split(" ")[0] if self.name else self.email

    @cached_property
    def roles(self) -> dict[int, Role]:
        """Role per business id; one query in a transaction of its own scope, kept for the life of the instance."""
        from accounts.tenancy import platform_scope

        with platform_scope():
            pairs = Membership.objects.filter(user=self).values_list("business_id", "role")
            return {business_id: Role(role) for business_id, role in pairs}

    def business_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.roles))


class Business(models.Model):
    """The tenant: a company whose customers are answered here."""

    name = models.CharField(_("name"), max_length=200)
    contact_email = models.EmailField(_("contact e-mail"), blank=True)
    contact_phone = models.CharField(_("contact phone"), max_length=40, blank=True)
    locale = models.CharField(
        _("language"), max_length=16, default="en", help_text=_("Of the business itself, such as en or de-CH.")
    )
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC", validators=[check_time_zone])
    retention_days = models.PositiveIntegerField(
        _("keep conversations for"),
        default=365,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text=_("Days after the last message; then conversations are erased."),
    )
    min_trust = models.SmallIntegerField(
        _("who may read customers' words"),
        choices=TrustDemand.choices,
        default=TrustDemand.VERIFIED,
        help_text=_("The least trust a miner needs before it is sent a conversation of this business."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    objects = querysets.BusinessQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        verbose_name_plural = _("businesses")
        constraints = [
            models.CheckConstraint(
                name="business_trust_demand_is_known",
                condition=Q(min_trust__in=[demand.value for demand in TrustDemand]),
            ),
            models.CheckConstraint(
                name="business_keeps_conversations_at_least_a_day", condition=Q(retention_days__gte=1)
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(TenantModel):
    """One person's role in one business."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships", verbose_name=_("person"))
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.AGENT)
    created_at = models.DateTimeField(_("since"), default=timezone.now, editable=False)

    objects = TenantQuerySet["Membership"].as_manager()

    class Meta:
        ordering = ["business_id", "user__email"]
        verbose_name = _("member")
        constraints = [
            models.UniqueConstraint(fields=["business", "user"], name="membership_is_one_per_person_and_business"),
            models.CheckConstraint(name="membership_role_is_known", condition=Q(role__in=Role.values)),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"


class Invitation(TenantModel):
    """An offer to join a business; its secret link is shown once and only the digest is kept."""

    email = models.EmailField(_("e-mail"))
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.AGENT)
    token_digest = models.CharField(max_length=64, db_index=True, editable=False)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("invited by")
    )
    created_at = models.DateTimeField(_("sent"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("valid until"))
    accepted_at = models.DateTimeField(_("accepted"), null=True, blank=True, editable=False)
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    objects = querysets.InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["business", "email"],
                condition=Q(accepted_at__isnull=True),
                name="invitation_waits_once_per_address",
            ),
            models.CheckConstraint(name="invitation_role_is_known", condition=Q(role__in=Role.values)),
            models.CheckConstraint(name="invitation_email_is_lower_case", condition=Q(email=Lower("email"))),
        ]

    def __str__(self) -> str:
        return f"{self.email} ({self.get_role_display()})"

    def is_open(self, now: datetime) -> bool:
        return self.accepted_at is None and now < self.expires_at


class ApiKey(TenantModel):
    """A credential of a business; the text of the key is shown once and only its keyed hash is kept."""

    kind = models.CharField(_("kind"), max_length=12, choices=[(kind.value, kind.label) for kind in KeyKind][:3])
    name = models.CharField(
        _("name"), max_length=100, help_text=_("Where the key is used, so that you can tell them apart.")
    )
    prefix = models.CharField(_("begins with"), max_length=16, db_index=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    allowed_origins = ArrayField(
        models.CharField(max_length=255),
        verbose_name=_("allowed origins"),
        default=list,
        blank=True,
        help_text=_("Pages that may use a publishable key, one per line, such as https://shop.example."),
    )
    scopes = ArrayField(
        models.CharField(max_length=16),
        verbose_name=_("may"),
        default=list,
        blank=True,
        help_text=_("What a secret key may be used for. None chosen: everything."),
    )
    created_by = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        editable=False,
        verbose_name=_("made by"),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    objects = querysets.ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = _("API key")
        constraints = [
            models.UniqueConstraint(fields=["business", "prefix"], name="api_key_prefix_is_unique_in_its_business"),
            models.CheckConstraint(
                name="api_key_kind_is_held_by_businesses", condition=Q(kind__in=["publishable", "secret", "client"])
            ),
            models.CheckConstraint(name="api_key_with_scopes_is_secret", condition=Q(kind="secret") | Q(scopes=[])),
            models.CheckConstraint(
                name="api_key_with_origins_is_publishable",
                condition=Q(kind="publishable") | Q(allowed_origins=[]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    @property
    def hint(self) -> str:
        """The part of the key that may be shown."""
        return key_hint(KeyKind(self.kind), self.prefix)

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class JwtIssuer(TenantModel):
    """Somebody whose RS256 tokens a business accepts as its dashboard's."""

    issuer = models.CharField(_("issuer"), max_length=255, help_text=_("The iss claim, compared exactly."))
    audience = models.CharField(_("audience"), max_length=255, help_text=_("The aud claim, compared exactly."))
    public_key_pem = models.TextField(_("public key (PEM)"), blank=True)
    jwks_url = models.URLField(_("JWKS address"), max_length=500, blank=True)
    active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantQuerySet["JwtIssuer"].as_manager()

    class Meta:
        ordering = ["issuer"]
        verbose_name = _("token issuer")
        constraints = [
            models.UniqueConstraint(fields=["business", "issuer"], name="jwt_issuer_is_named_once_per_business"),
            models.CheckConstraint(
                name="jwt_issuer_has_a_key_or_an_address_and_not_both",
                condition=(Q(public_key_pem="") & ~Q(jwks_url="")) | (~Q(public_key_pem="") & Q(jwks_url="")),
            ),
        ]

    def __str__(self) -> str:
        return self.issuer

    def clean(self) -> None:
        from accounts.tokens import check_public_key

        if bool(self.public_key_pem) == bool(self.jwks_url):
            raise ValidationError(_("Give either the public key or the address of the JWKS, and not both."))
        if self.public_key_pem:
            check_public_key(self.public_key_pem)


class AuditEntry(models.Model):
    """One thing that staff, a key or the platform changed; the database refuses to alter or remove it.

    Actors and targets are kept as plain ids and labels, because both may be erased while the entry stays. Entries go
    only with their business: its foreign key cascades inside the database.
    """

    business = models.ForeignKey(
        Business, on_delete=models.DO_NOTHING, db_constraint=False, null=True, blank=True, related_name="+"
    )
    actor_label = models.CharField(_("who"), max_length=255)
    actor_user_id = models.BigIntegerField(null=True, blank=True)
    actor_key_id = models.BigIntegerField(null=True, blank=True)
    action = models.CharField(_("did"), max_length=40, choices=AuditAction.choices)
    target_type = models.CharField(_("what"), max_length=100)
    target_id = models.CharField(max_length=64, blank=True)
    target_label = models.CharField(_("which"), max_length=255, blank=True)
    changes = models.JSONField(_("changes"), default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(_("when"), default=timezone.now, editable=False)

    objects = TenantQuerySet["AuditEntry"].as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit trail")
        indexes = [
            models.Index(fields=["business", "-created_at"], name="audit_of_a_business_by_time"),
            models.Index(fields=["business", "target_type", "target_id"], name="audit_of_one_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_label} {self.get_action_display().lower()} {self.target_type} {self.target_label}"
