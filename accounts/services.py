"""What can be done with businesses, their members and their keys.

Each function is one transaction under the scope of its business, checks that its actor may, and is put on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NotRequired, TypedDict, Unpack

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.audit import Actor, record_audit
from accounts.choices import BUSINESS_KEY_KINDS, AuditAction, KeyKind, KeyScope, Role
from accounts.keys import new_key, random_text
from accounts.models import ApiKey, Business, Invitation, Membership, User
from accounts.origins import forget_served_origins, normalise_origin
from accounts.permissions import Right, has_right
from accounts.principals import PrincipalKind
from accounts.resolution import verdicts
from accounts.tenancy import business_scope, platform_scope
from mia.lib.errors import Conflict, Forbidden, InvalidRequest, NotFound

__all__ = [
    "accept_invitation",
    "add_member",
    "change_api_key_origins",
    "change_member_role",
    "create_business",
    "erase_business",
    "find_invitation",
    "forget_keys",
    "invite_member",
    "issue_api_key",
    "record_audit",
    "remove_member",
    "revoke_api_key",
    "withdraw_invitation",
]

INVITATION_LIFETIME = timedelta(days=7)
INVITATION_TOKEN_CHARS = 43
INVITATION_SALT = "accounts.invitation"
MAX_ORIGINS = 50


class BusinessDetails(TypedDict):
    """What a business may be given when it is made; the rest has defaults."""

    contact_email: NotRequired[str]
    contact_phone: NotRequired[str]
    locale: NotRequired[str]
    time_zone: NotRequired[str]
    retention_days: NotRequired[int]
    min_trust: NotRequired[int]


@transaction.atomic
def create_business(
    *, actor: Actor, name: str, owner: User | None = None, **details: Unpack[BusinessDetails]
) -> Business:
    """Makes a business, with its first owner where one is given. For superusers and the platform itself."""
    _require_platform(actor)
    with platform_scope():
        business = Business(name=name, **details)
        _check(business)
        business.save()
        record_audit(actor=actor, business=business, action=AuditAction.CREATED, target=business)
        if owner is not None:
            _join(actor=actor, business=business, user=owner, role=Role.OWNER)
    return business


@transaction.atomic
def erase_business(*, actor: Actor, business: Business) -> None:
    """Deletes a business with everything that belongs to it; what stays is one entry that says who did it."""
    _require_platform(actor)
    with platform_scope():
        record_audit(actor=actor, business=None, action=AuditAction.ERASED, target=business)
        business.delete()
    forget_keys()


@transaction.atomic
def add_member(*, actor: Actor, business: Business, user: User, role: Role) -> Membership:
    """Gives a person a role, and access to the admin. Raises Conflict for somebody who is a member already."""
    with business_scope(business.pk):
        _require_role_change(actor, business.pk, role)
        if Membership.objects.for_business(business).filter(user=user).exists():
            raise Conflict(f"{user} is a member already.")
        return _join(actor=actor, business=business, user=user, role=role)


@transaction.atomic
def change_member_role(*, actor: Actor, membership: Membership, role: Role) -> Membership:
    """Raises Conflict where nobody would be left to own the business."""
    with business_scope(membership.business_id):
        membership = _locked_membership(membership)
        old = Role(membership.role)
        _require_role_change(actor, membership.business_id, old, role)
        if old == Role.OWNER and role != Role.OWNER:
            _require_another_owner(membership)
        membership.role = role
        membership.save(update_fields=["role"])
        _record(actor, AuditAction.CHANGED, membership, {"role": [old, role]})
    return membership


@transaction.atomic
def remove_member(*, actor: Actor, membership: Membership) -> None:
    """Takes a person's role away; anybody may leave. Raises Conflict for the last owner."""
    with business_scope(membership.business_id):
        membership = _locked_membership(membership)
        if not (isinstance(actor, User) and actor.pk == membership.user_id):
            _require_role_change(actor, membership.business_id, Role(membership.role))
        if membership.role == Role.OWNER:
            _require_another_owner(membership)
        _record(actor, AuditAction.DELETED, membership)
        membership.delete()


@transaction.atomic
def invite_member(
    *, actor: Actor, business: Business, email: str, role: Role, now: datetime | None = None
) -> tuple[Invitation, str]:
    """An invitation and the token of its link, which is not kept. A second one to an address replaces the first."""
    now = now or timezone.now()
    token = random_text(INVITATION_TOKEN_CHARS)
    with business_scope(business.pk):
        _require_role_change(actor, business.pk, role)
        invitations = Invitation.objects.for_business(business)
        if Membership.objects.for_business(business).filter(user__email=email.lower()).exists():
            raise Conflict(f"{email} is a member already.")
        invitations.waiting().filter(email=email.lower()).delete()
        invitation = Invitation(
            business=business,
            email=email.lower(),
            role=role,
            token_digest=digest_invitation_token(token),
            invited_by=actor if isinstance(actor, User) else None,
            created_at=now,
            expires_at=now + INVITATION_LIFETIME,
        )
        _check(invitation)
        invitation.save()
        _record(actor, AuditAction.INVITED, invitation, {"role": role})
    return invitation, token


@transaction.atomic
def withdraw_invitation(*, actor: Actor, invitation: Invitation) -> None:
    """Makes the link of an invitation that waits useless."""
    with business_scope(invitation.business_id):
        _require(actor, Right.MANAGE, invitation.business_id)
        _record(actor, AuditAction.DELETED, invitation)
        invitation.delete()


def find_invitation(*, token: str, now: datetime | None = None) -> Invitation:
    """The invitation that a link still opens, with its business. Raises NotFound."""
    with platform_scope():
        invitation = (
            Invitation.objects.waiting()
            .select_related("business")
            .filter(token_digest=digest_invitation_token(token))
            .first()
        )
    if invitation is None or not invitation.is_open(now or timezone.now()):
        raise NotFound("This invitation was used, withdrawn or has expired.")
    return invitation


@transaction.atomic
def accept_invitation(*, token: str, name: str = "", password: str = "", now: datetime | None = None) -> Membership:
    """Makes the invited person a member, and a user with this password where the address is new here.

    A user who exists keeps their password: the link proves that they read their mail, and lets nobody sign in.
    """
    now = now or timezone.now()
    invitation = find_invitation(token=token, now=now)
    with business_scope(invitation.business_id):
        accepted = Invitation.objects.waiting().filter(pk=invitation.pk).update(accepted_at=now)
        if not accepted:
            raise NotFound("This invitation was used, withdrawn or has expired.")
        user = User.objects.filter(email=invitation.email).first() or _new_user(invitation.email, name, password)
        Invitation.objects.filter(pk=invitation.pk).update(accepted_by=user)
        return _join(actor=user, business=invitation.business, user=user, role=Role(invitation.role))


@transaction.atomic
def issue_api_key(
    *,
    actor: Actor,
    business: Business,
    kind: KeyKind,
    name: str,
    allowed_origins: Iterable[str] = (),
    scopes: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A key and its text, which is shown now or never."""
    if kind not in BUSINESS_KEY_KINDS:
        raise InvalidRequest({"kind": ["Businesses hold publishable, secret and client keys."]})
    made = new_key(kind)
    with business_scope(business.pk):
        _require(actor, Right.MANAGE, business.pk)
        key = ApiKey(
            business=business,
            kind=kind,
            name=name,
            prefix=made.prefix,
            digest=made.digest,
            allowed_origins=checked_origins(kind, allowed_origins),
            scopes=checked_scopes(kind, scopes),
            expires_at=expires_at,
            created_by=actor if isinstance(actor, User) else None,
        )
        _check(key)
        key.save()
        _record(
            actor,
            AuditAction.CREATED,
            key,
            {"kind": kind, "allowed_origins": key.allowed_origins, "scopes": key.scopes},
        )
        transaction.on_commit(forget_keys)
    return key, made.plain


@transaction.atomic
def change_api_key_origins(*, actor: Actor, key: ApiKey, allowed_origins: Iterable[str]) -> ApiKey:
    """Changes the pages that may use a publishable key."""
    with business_scope(key.business_id):
        _require(actor, Right.MANAGE, key.business_id)
        old = key.allowed_origins
        key.allowed_origins = checked_origins(KeyKind(key.kind), allowed_origins)
        key.save(update_fields=["allowed_origins"])
        _record(actor, AuditAction.CHANGED, key, {"allowed_origins": [old, key.allowed_origins]})
        transaction.on_commit(forget_keys)
    return key


@transaction.atomic
def revoke_api_key(*, actor: Actor, key: ApiKey, now: datetime | None = None) -> ApiKey:
    """Ends a key: at once in this process, within the five seconds of their caches in the others. Idempotent."""
    now = now or timezone.now()
    with business_scope(key.business_id):
        _require(actor, Right.MANAGE, key.business_id)
        if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now):
            _record(actor, AuditAction.REVOKED, key)
            transaction.on_commit(forget_keys)
        key.refresh_from_db()
    return key


def checked_scopes(kind: KeyKind, scopes: Iterable[str]) -> list[str]:
    """Raises InvalidRequest for a scope that there is not, and for a key that has none."""
    chosen = sorted(set(scopes))
    if chosen and kind != KeyKind.SECRET:
        raise InvalidRequest({"scopes": ["Only secret keys are narrowed; the others are narrow already."]})
    if not set(chosen) <= set(KeyScope.values):
        raise InvalidRequest({"scopes": ["There is no such scope."]})
    return chosen


def checked_origins(kind: KeyKind, origins: Iterable[str]) -> list[str]:
    """The origins as browsers write them, each once. Raises InvalidRequest that names the one that is none."""
    given = list(dict.fromkeys(text.strip() for text in origins if text.strip()))
    if kind != KeyKind.PUBLISHABLE:
        if given:
            raise InvalidRequest({"allowed_origins": ["Only publishable keys are tied to pages."]})
        return []
    if not given or len(given) > MAX_ORIGINS:
        raise InvalidRequest({"allowed_origins": [f"Name 1 to {MAX_ORIGINS} origins, such as https://shop.example."]})
    known = {text: normalise_origin(text) for text in given}
    wrong = [text for text, origin in known.items() if origin is None]
    if wrong:
        raise InvalidRequest(
            {"allowed_origins": [f"{text} is not an origin like https://shop.example." for text in wrong]}
        )
    return list(dict.fromkeys(origin for origin in known.values() if origin is not None))


def digest_invitation_token(token: str) -> str:
    return salted_hmac(INVITATION_SALT, token, algorithm="sha256").hexdigest()


def _join(*, actor: Actor, business: Business, user: User, role: Role) -> Membership:
    membership, made = Membership.objects.get_or_create(business=business, user=user, defaults={"role": role})
    if not user.is_staff:
        User.objects.filter(pk=user.pk).update(is_staff=True)
        user.is_staff = True
    user.__dict__.pop("roles", None)
    if made:
        _record(actor, AuditAction.JOINED, membership, {"role": role})
    return membership


def _new_user(email: str, name: str, password: str) -> User:
    user = User(email=email, name=name)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidRequest({"password": list(error.messages)}) from error
    user.set_password(password)
    _check(user)
    user.save()
    return user


def _locked_membership(membership: Membership) -> Membership:
    """The membership as it is now; every member of the business is locked, so that two owners cannot both be last."""
    rows = list(Membership.objects.for_business(membership.business_id).order_by("pk").select_for_update())
    found = next((row for row in rows if row.pk == membership.pk), None)
    if found is None:
        raise NotFound
    return found


def _require_another_owner(membership: Membership) -> None:
    others = Membership.objects.for_business(membership.business_id).exclude(pk=membership.pk)
    if not others.filter(role=Role.OWNER).exists():
        raise Conflict("A business keeps at least one owner; make somebody else an owner first.")


def _require(actor: Actor, right: Right, business_id: int) -> None:
    if actor is None:
        return
    if isinstance(actor, User):
        allowed = has_right(actor, right, business_id)
    else:
        allowed = actor.kind == PrincipalKind.SECRET and actor.business_id == business_id and right != Right.OWN
    if not allowed:
        raise Forbidden


def _require_role_change(actor: Actor, business_id: int, *roles: Role) -> None:
    _require(actor, Right.OWN if Role.OWNER in roles else Right.MANAGE, business_id)


def _require_platform(actor: Actor) -> None:
    if actor is not None and not (isinstance(actor, User) and actor.is_active and actor.is_superuser):
        raise Forbidden


def _record(
    actor: Actor,
    action: AuditAction,
    target: ApiKey | Invitation | Membership,
    changes: dict[str, object] | None = None,
) -> None:
    record_audit(actor=actor, business=target.business_id, action=action, target=target, changes=changes)


def _check(instance: models.Model) -> None:
    try:
        instance.full_clean(validate_constraints=False)
    except ValidationError as error:
        raise InvalidRequest({name: list(messages) for name, messages in error.message_dict.items()}) from error


def forget_keys() -> None:
    """Has this process ask the database again about every key and origin."""
    verdicts.clear()
    forget_served_origins()
