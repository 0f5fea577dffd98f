"""Accounts in the admin: people, businesses, members, invitations, keys, token issuers and the audit trail."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts import services
from accounts.choices import KeyKind, Role
from accounts.forms import ApiKeyForm, BusinessForm, InvitationForm, JwtIssuerForm, MembershipForm
from accounts.models import ApiKey, AuditEntry, Business, Invitation, JwtIssuer, Membership, User
from accounts.permissions import Right
from accounts.querysets import ApiKeyQuerySet
from accounts.scoped_admin import (
    ReadOnlyInline,
    ScopedRelatedFilter,
    SuperuserModelAdmin,
    TenantModelAdmin,
    button,
    column,
    user_of,
)
from accounts.shown_once import become, shown_once_page

__all__ = [
    "ReadOnlyInline",
    "ScopedRelatedFilter",
    "SuperuserModelAdmin",
    "TenantModelAdmin",
    "become",
    "button",
    "column",
    "shown_once_page",
    "user_of",
]

ROLE_COLOURS = {Role.OWNER: "success", Role.ADMIN: "info", Role.AGENT: "warning", Role.VIEWER: "default"}
STATE_COLOURS = {"Live": "success", "Waiting": "info", "Expired": "warning", "Accepted": "success", "Revoked": "danger"}

# Rights come from memberships, so Django's groups have nothing to say here.
if admin.site.is_registered(Group):
    admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], SuperuserModelAdmin[User]):  # type: ignore[misc]
    """People with a login; for superusers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["email", "name", "is_staff", "is_superuser", "is_active", "last_login"]
    list_filter = ["is_staff", "is_superuser", "is_active"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    filter_horizontal = []
    readonly_fields = ["last_login", "created_at"]
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        (_("Access"), {"fields": ["is_active", "is_staff", "is_superuser"]}),
        (_("Dates"), {"fields": ["last_login", "created_at"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "name", "password1", "password2", "is_staff", "is_superuser"]})]


class MemberInline(ReadOnlyInline):
    """Who belongs to a business."""

    model = Membership
    verbose_name_plural = _("members")
    fields = ["user", "role", "created_at"]
    readonly_fields = ["user", "role", "created_at"]
    tab = True


class KeyInline(ReadOnlyInline):
    """The keys of a business."""

    model = ApiKey
    verbose_name_plural = _("API keys")
    fields = ["name", "kind", "hint", "last_used_at", "revoked_at"]
    readonly_fields = ["name", "kind", "hint", "last_used_at", "revoked_at"]
    view_right = Right.MANAGE
    tab = True

    @column(description=_("begins with"))
    def hint(self, key: ApiKey) -> str:
        return key.hint


@admin.register(Business)
class BusinessAdmin(TenantModelAdmin[Business]):
    """A business's own settings; superusers make and erase businesses."""

    form = BusinessForm
    business_path = "pk"
    list_display = ["name", "members", "keys", "min_trust", "time_zone", "created_at"]
    search_fields = ["name", "contact_email"]
    ordering = ["name", "pk"]  # Said again, because counting drops the model's own.
    list_filter = [("min_trust", ChoicesDropdownFilter)]
    inlines = [MemberInline, KeyInline]
    readonly_fields = ["created_at", "updated_at"]
    empty_hint = _("Add the first business, then invite its owner: bots, keys and conversations all belong to one.")
    fieldsets = [
        (None, {"fields": ["name", "contact_email", "contact_phone"]}),
        (_("Language and time"), {"fields": ["locale", "time_zone"]}),
        (_("Its customers' words"), {"fields": ["min_trust", "retention_days"]}),
        (_("Dates"), {"fields": ["created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Business]:
        rows = super().get_queryset(request)
        return rows.annotate(
            member_count=models.Count("membership", distinct=True), key_count=models.Count("apikey", distinct=True)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return user_of(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Business | None = None) -> bool:
        return user_of(request).is_superuser

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Everything of the business goes with it, also what nobody may delete by itself."""
        to_delete, counts, _lacking, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: Business) -> None:
        services.erase_business(actor=user_of(request), business=obj)

    @column(description=_("members"), ordering="member_count")
    def members(self, business: Business) -> int:
        return int(getattr(business, "member_count", 0))

    @column(description=_("keys"), ordering="key_count")
    def keys(self, business: Business) -> int:
        return int(getattr(business, "key_count", 0))


@admin.register(Membership)
class MembershipAdmin(TenantModelAdmin[Membership]):
    """Who works for a business, as what; new people are invited."""

    form = MembershipForm
    list_display = ["user", "email", "shown_role", "business", "created_at"]
    list_filter = [("role", ChoicesDropdownFilter), "business"]
    list_select_related = ["user", "business"]
    search_fields = ["user__email", "user__name"]
    fields = ["business", "user", "role"]
    empty_hint = _("Nobody works here yet. Invite people under Invitations.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Businesses invite; only superusers may add somebody who was not asked."""
        return user_of(request).is_superuser

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.acting_user = user_of(request)
        if change and "user" in form.base_fields:
            form.base_fields["user"].disabled = True
        return form

    def save_model(
        self, request: HttpRequest, obj: Membership, form: forms.ModelForm[Membership], change: bool
    ) -> None:
        role = Role(obj.role)
        if change:
            services.change_member_role(actor=user_of(request), membership=obj, role=role)
            return
        made = services.add_member(actor=user_of(request), business=obj.business, user=obj.user, role=role)
        become(obj, made)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        services.remove_member(actor=user_of(request), membership=obj)

    @column(description=_("e-mail"), ordering="user__email")
    def email(self, membership: Membership) -> str:
        return membership.user.email

    @column(description=_("role"), ordering="role", label=ROLE_COLOURS)
    def shown_role(self, membership: Membership) -> tuple[str, str]:
        return membership.role, membership.get_role_display()


@admin.register(Invitation)
class InvitationAdmin(TenantModelAdmin[Invitation]):
    """Links that make somebody a member; each is shown once, and sent by whoever made it."""

    form = InvitationForm
    view_right = Right.MANAGE
    list_display = ["email", "role", "business", "state", "invited_by", "expires_at"]
    list_filter = [("role", ChoicesDropdownFilter), "business"]
    list_select_related = ["business", "invited_by"]
    search_fields = ["email"]
    fields = ["business", "email", "role"]
    empty_hint = _("Invite a colleague: you get a link to send them, which works once and for seven days.")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.acting_user = user_of(request)
        return form

    def save_model(
        self, request: HttpRequest, obj: Invitation, form: forms.ModelForm[Invitation], change: bool
    ) -> None:
        invitation, token = services.invite_member(
            actor=user_of(request), business=obj.business, email=obj.email, role=Role(obj.role)
        )
        become(obj, invitation)
        request.shown_once = token  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Invitation) -> None:
        services.withdraw_invitation(actor=user_of(request), invitation=obj)

    def response_add(self, request: HttpRequest, obj: Invitation, post_url_continue: str | None = None) -> HttpResponse:
        token = request.shown_once  # type: ignore[attr-defined]
        link = request.build_absolute_uri(reverse("accept-invitation", args=[token]))
        return shown_once_page(self, request, obj, "accounts/invitation_made.html", {"link": link})

    @column(description=_("state"), label=STATE_COLOURS)
    def state(self, invitation: Invitation) -> str:
        if invitation.accepted_at is not None:
            return "Accepted"
        return "Waiting" if invitation.is_open(timezone.now()) else "Expired"


class KeyStateFilter(admin.SimpleListFilter):
    """Keys that work, and keys that do not."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("live", _("Live")), ("ended", _("Revoked or expired"))]

    def queryset(self, request: HttpRequest, queryset: ApiKeyQuerySet) -> ApiKeyQuerySet:  # type: ignore[override]
        live = ApiKey.objects.live(timezone.now())
        match self.value():
            case "live":
                return queryset.filter(pk__in=live.values("pk"))
            case "ended":
                return queryset.exclude(pk__in=live.values("pk"))
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(TenantModelAdmin[ApiKey]):
    """Keys of a business. Made here and shown once; ended, never deleted."""

    form = ApiKeyForm
    view_right = Right.MANAGE
    delete_right = None
    list_display = [
        "name",
        "shown_kind",
        "shown_scopes",
        "shown_prefix",
        "business",
        "state",
        "last_used_at",
        "created_at",
    ]
    list_filter = [("kind", ChoicesDropdownFilter), KeyStateFilter, "business"]
    list_select_related = ["business"]
    search_fields = ["name", "prefix"]
    actions = ["revoke_selected"]
    actions_submit_line = ["revoke"]
    empty_hint = _("Add a publishable key to put the widget on a website, or a secret key for your own server.")

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        if obj is None:
            fields = ["business", "kind", "name", "allowed_origins", "scopes", "expires_at"]
            return self.for_user(request, [(None, {"fields": fields})])
        editable = {KeyKind.PUBLISHABLE: ["name", "allowed_origins"], KeyKind.SECRET: ["name", "scopes"]}.get(
            KeyKind(obj.kind), ["name"]
        )
        dates = ["expires_at", "created_at", "created_by", "last_used_at", "revoked_at"]
        fields = ["business", "shown_kind", "shown_prefix", *editable]
        return self.for_user(request, [(None, {"fields": fields}), (_("Dates"), {"fields": dates})])

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        fixed = ["shown_kind", "shown_prefix", "created_at", "created_by", "last_used_at", "revoked_at"]
        return fixed if obj is None else [*fixed, "expires_at"]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm[ApiKey], change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            transaction.on_commit(services.forget_keys)
            return
        key, plain = services.issue_api_key(
            actor=user_of(request),
            business=obj.business,
            kind=KeyKind(obj.kind),
            name=obj.name,
            allowed_origins=obj.allowed_origins,
            scopes=obj.scopes,
            expires_at=obj.expires_at,
        )
        become(obj, key)
        request.shown_once = plain  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        plain = request.shown_once  # type: ignore[attr-defined]
        script = request.build_absolute_uri("/widget.js")
        snippet = (
            f'<script async src="{script}" data-key="{plain}"></script>' if obj.kind == KeyKind.PUBLISHABLE else ""
        )
        return shown_once_page(self, request, obj, "accounts/key_made.html", {"key": plain, "snippet": snippet})

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For the button of one key, and for the bulk action; a key that has ended shows no button."""
        if not self.allows(request, Right.MANAGE, obj):
            return False
        if obj is None:
            return True
        key = obj if isinstance(obj, ApiKey) else self.get_object(request, str(obj))
        return key is not None and key.revoked_at is None

    @button(description=_("Revoke this key"), permissions=["revoke"], icon="block", variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, obj: ApiKey) -> None:
        services.revoke_api_key(actor=user_of(request), key=obj)
        messages.success(request, _("The key is revoked; it stops working within five seconds."))

    @button(description=_("Revoke the chosen keys"), permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: models.QuerySet[ApiKey]) -> None:
        keys = list(self.permitted(request, queryset, Right.MANAGE).filter(revoked_at=None))
        for key in keys:
            services.revoke_api_key(actor=user_of(request), key=key)
        text = ngettext("%(count)d key is revoked.", "%(count)d keys are revoked.", len(keys))
        messages.success(request, text % {"count": len(keys)})

    @column(description=_("kind"), ordering="kind")
    def shown_kind(self, key: ApiKey) -> str:
        return str(KeyKind(key.kind).label)

    @column(description=_("may"))
    def shown_scopes(self, key: ApiKey) -> str:
        if key.kind != KeyKind.SECRET:
            return "–"
        return ", ".join(key.scopes) or str(_("everything"))

    @column(description=_("begins with"), ordering="prefix")
    def shown_prefix(self, key: ApiKey) -> SafeString:
        return format_html("<code>{}</code>", key.hint)

    @column(description=_("state"), label=STATE_COLOURS)
    def state(self, key: ApiKey) -> str:
        return key_state(key, timezone.now())


@admin.register(JwtIssuer)
class JwtIssuerAdmin(TenantModelAdmin[JwtIssuer]):
    """Whose dashboard tokens a business accepts."""

    form = JwtIssuerForm
    view_right = Right.MANAGE
    list_display = ["issuer", "audience", "business", "source", "active"]
    list_filter = ["active", "business"]
    list_select_related = ["business"]
    search_fields = ["issuer", "audience"]
    empty_hint = _("Register your identity provider to let your own dashboard call the API with its RS256 tokens.")
    fieldsets = [
        (None, {"fields": ["business", "issuer", "audience", "active"]}),
        (_("How its tokens are checked: give one of the two"), {"fields": ["public_key_pem", "jwks_url"]}),
    ]

    @column(description=_("checked with"))
    def source(self, issuer: JwtIssuer) -> str:
        return issuer.jwks_url or str(_("a fixed public key"))


@admin.register(AuditEntry)
class AuditEntryAdmin(TenantModelAdmin[AuditEntry]):
    """What was changed, by whom; nobody alters it."""

    view_right = Right.MANAGE
    add_right = change_right = delete_right = None
    list_display = ["created_at", "actor_label", "action", "target_type", "target_label", "business"]
    list_filter = [("action", ChoicesDropdownFilter), ("created_at", RangeDateTimeFilter), "business"]
    list_select_related = ["business"]
    search_fields = ["actor_label", "target_label", "target_type", "request_id"]
    date_hierarchy = "created_at"
    empty_hint = _("Nothing was changed yet. Whatever staff or keys change from now on is kept here.")
    fields = [
        "created_at", "actor_label", "action", "target_type", "target_label", "target_id", "business", "shown_changes",
        "request_id",
    ]  # fmt: skip
    readonly_fields = ["shown_changes"]

    @column(description=_("changes"))
    def shown_changes(self, entry: AuditEntry) -> SafeString:
        text = json.dumps(entry.changes, indent=2, ensure_ascii=False)
        return format_html('<pre class="text-xs whitespace-pre-wrap">{}</pre>', text)


def key_state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "Revoked"
    return "Live" if key.is_live(now) else "Expired"
