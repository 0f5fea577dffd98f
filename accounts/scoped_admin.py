"""The base of every admin class: staff see the rows of their businesses, may what their role allows, and are on record.

Row-level security stands behind all of this; what is done here keeps people, who are not under it, from appearing in
drop-downs, and turns a refusal by the database into a page that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib import messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.fields.related import RelatedField
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import Promise
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import action as unfold_action
from unfold.decorators import display as unfold_display

from accounts.audit import changes_of, is_secret, record_audit
from accounts.choices import AuditAction
from accounts.forms import refusal_texts
from accounts.models import Business, User
from accounts.permissions import Right, businesses_with, has_right
from accounts.principals import visible_business_ids
from accounts.tenancy import undoable
from mia.lib.errors import ApplicationError

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, TabularInline

    Row = TypeVar("Row", bound=models.Model)
    ScopedFilterBase = object
else:
    from unfold.admin import ModelAdmin, TabularInline

    Row = TypeVar("Row", bound=models.Model)
    ScopedFilterBase = RelatedDropdownFilter

Method = TypeVar("Method", bound=Callable[..., Any])
Choices = list[tuple[object, str]]


def column(**options: Any) -> Callable[[Method], Method]:
    """Unfold's `display`, with types: a column of a list or a line of a form that a method makes."""
    return cast("Callable[[Method], Method]", unfold_display(**options))


def button(**options: Any) -> Callable[[Method], Method]:
    """Unfold's `action`, with types: a bulk action, or a button of the line under a form."""
    return cast("Callable[[Method], Method]", unfold_action(**options))


def user_of(request: HttpRequest) -> User:
    """Whoever is signed in; the admin lets nobody else in."""
    return cast("User", request.user)


def visible_rows(model: type[models.Model], user: User) -> models.QuerySet[Any]:
    """The rows of any table that a member of staff may be shown as choices."""
    rows = model._default_manager.all()
    if model is User:
        return _colleagues(rows, user)
    if hasattr(rows, "visible_to"):
        return cast("models.QuerySet[Any]", rows.visible_to(user))
    business_ids = visible_business_ids(user)
    if business_ids is None:
        return rows
    return rows.filter(business__in=business_ids) if has_field(model, "business") else rows.none()


def has_field(model: type[models.Model], name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True


def _colleagues(users: models.QuerySet[Any], user: User) -> models.QuerySet[Any]:
    business_ids = visible_business_ids(user)
    if business_ids is None:
        return users
    return users.filter(memberships__business__in=business_ids).distinct()


class ScopedRelatedFilter(ScopedFilterBase):
    """A filter by a related row that offers only what the member of staff may see."""

    def field_choices(self, field: RelatedField[Any, Any], request: HttpRequest, model_admin: object) -> Choices:
        rows = visible_rows(field.remote_field.model, user_of(request))
        return [(row.pk, str(row)) for row in rows[:500]]


class ScopedFieldsMixin:
    """Drop-downs that offer only rows of the user's businesses."""

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        kwargs["queryset"] = self.choices_for(db_field, request, kwargs.get("queryset"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(
        self, db_field: models.ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        kwargs["queryset"] = self.choices_for(db_field, request, kwargs.get("queryset"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    def choices_for(
        self, db_field: RelatedField[Any, Any], request: HttpRequest, narrowed: models.QuerySet[Any] | None
    ) -> models.QuerySet[Any]:
        """The rows that a form of this admin may point at; `narrowed` is what a subclass chose already."""
        visible = visible_rows(db_field.remote_field.model, user_of(request))
        return visible if narrowed is None else narrowed.filter(pk__in=visible.values("pk"))


class TenantModelAdmin(ScopedFieldsMixin, ModelAdmin[Row]):
    """The admin of a tenant table.

    `view_right` and its siblings say what each act takes; None means that nobody does it here. `business_path` leads
    from the row to its business. The business itself is chosen only where there is a choice, and never changed.
    """

    business_path = "business"
    view_right: Right | None = Right.READ
    add_right: Right | None = Right.MANAGE
    change_right: Right | None = Right.MANAGE
    delete_right: Right | None = Right.MANAGE
    empty_hint: str | Promise = ""
    list_before_template = "accounts/empty_hint.html"
    warn_unsaved_form = True
    list_filter_submit = True

    # --- Which rows

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Row]:
        rows = super().get_queryset(request)
        if self.view_right is None:
            return rows.none()
        business_ids = businesses_with(user_of(request), self.view_right)
        return rows if business_ids is None else rows.filter(**{f"{self.business_path}__in": business_ids})

    def business_id_of(self, row: models.Model) -> int | None:
        value: object = row
        for step in self.business_path.split("__"):
            value = getattr(value, step, None)
        return value.pk if isinstance(value, models.Model) else cast("int | None", value)

    def permitted(self, request: HttpRequest, rows: models.QuerySet[Row], right: Right) -> models.QuerySet[Row]:
        """For bulk actions: of the chosen rows, those of businesses in which the user has this right."""
        business_ids = businesses_with(user_of(request), right)
        return rows if business_ids is None else rows.filter(**{f"{self.business_path}__in": business_ids})

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        return [self._scoped_filter(item) for item in filters if item != "business" or self.has_choice(request)]

    def _scoped_filter(self, item: Any) -> Any:
        if not isinstance(item, str) or not has_field(self.model, item):
            return item
        return (item, ScopedRelatedFilter) if self.model._meta.get_field(item).is_relation else item

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Nobody guesses a secret letter by letter through the address of a list."""
        return not is_secret(lookup) and super().lookup_allowed(lookup, value, request)

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: object, object_id: str) -> HttpResponse:
        raise Http404

    # --- Who may

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.view_right, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.allows(request, self.add_right)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.change_right, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.delete_right, obj)

    def allows(self, request: HttpRequest, right: Right | None, obj: Any = None) -> bool:
        """Whether the user has a right over a row, or, without one, anywhere. Takes ids too, as unfold's actions do."""
        if right is None:
            return False
        if obj is None:
            return has_right(user_of(request), right)
        row = obj if isinstance(obj, models.Model) else self.get_object(request, str(obj))
        business_id = None if row is None else self.business_id_of(row)
        if business_id is None:
            return user_of(request).is_superuser
        return has_right(user_of(request), right, business_id)

    # --- The business of a row

    def has_choice(self, request: HttpRequest) -> bool:
        """Whether the user works for more than one business, and so needs to be told which one."""
        business_ids = visible_business_ids(user_of(request))
        return business_ids is None or len(business_ids) > 1

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return columns if self.has_choice(request) else [name for name in columns if name != "business"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.for_user(request, super().get_fieldsets(request, obj))

    def for_user(self, request: HttpRequest, fieldsets: Any) -> Any:
        """The fieldsets without the business, for somebody who has only one."""
        return fieldsets if self.has_choice(request) else without_field(fieldsets, "business")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form always holds the business, so that uniqueness within it is checked, also where it is not shown."""
        # Django asks with no fields at all when it works out which there are.
        if kwargs.get("fields", ...) is not None and self._has_business_field():
            shown = kwargs.get("fields") or flatten_fieldsets(self.get_fieldsets(request, obj))
            kwargs["fields"] = list(dict.fromkeys([*shown, "business"]))
        form = super().get_form(request, obj, change, **kwargs)
        if change and "business" in form.base_fields:
            form.base_fields["business"].disabled = True
        elif "business" in form.base_fields and not self.has_choice(request):
            return with_fixed_business(form, next(iter(visible_business_ids(user_of(request)) or ()), None))
        return form

    def choices_for(
        self, db_field: RelatedField[Any, Any], request: HttpRequest, narrowed: models.QuerySet[Any] | None
    ) -> models.QuerySet[Any]:
        rows = super().choices_for(db_field, request, narrowed)
        if db_field.remote_field.model is not Business or self.add_right is None:
            return rows
        business_ids = businesses_with(user_of(request), self.add_right)
        return rows if business_ids is None else rows.filter(pk__in=business_ids)

    def _has_business_field(self) -> bool:
        return self.business_path == "business" and has_field(self.model, "business")

    # --- On record

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        action = AuditAction.CHANGED if change else AuditAction.CREATED
        before: Mapping[str, object] = form.initial if change else {}
        self.record(request, action, obj, changes_of(obj, before, list(form.changed_data)))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.record(request, AuditAction.DELETED, obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)

    def record(
        self, request: HttpRequest, action: AuditAction, obj: models.Model, changes: Mapping[str, object] | None = None
    ) -> None:
        record_audit(
            actor=user_of(request), business=self.business_id_of(obj), action=action, target=obj, changes=changes
        )

    # --- Refusals of services

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        return self._told(
            request, lambda: super(TenantModelAdmin, self).changeform_view(request, object_id, form_url, extra_context)
        )

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        return self._told(request, lambda: super(TenantModelAdmin, self).delete_view(request, object_id, extra_context))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return self._told(request, lambda: super(TenantModelAdmin, self).changelist_view(request, extra_context))

    def _told(self, request: HttpRequest, view: Callable[[], Any]) -> Any:
        """What a service refuses is undone and said on the page the user came from."""
        try:
            with undoable():
                return view()
        except ApplicationError as error:
            messages.error(request, " ".join(refusal_texts(error)))
            return HttpResponseRedirect(request.get_full_path())


class SuperuserModelAdmin(TenantModelAdmin[Row]):
    """The admin of a table of the platform's own, which no business sees."""

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Row]:
        rows = ModelAdmin.get_queryset(self, request)
        return rows if user_of(request).is_superuser else rows.none()

    def allows(self, request: HttpRequest, right: Right | None, obj: Any = None) -> bool:
        user = user_of(request)
        return right is not None and user.is_active and user.is_staff and user.is_superuser

    def business_id_of(self, row: models.Model) -> int | None:
        return None


class ReadOnlyInline(ScopedFieldsMixin, TabularInline[Any, Any]):
    """Rows of a business shown on its page; each is changed on a page of its own."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True
    view_right: Right = Right.READ

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_right(user_of(request), self.view_right, obj.pk if isinstance(obj, Business) else None)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def with_fixed_business(form: Any, business_id: int | None) -> Any:
    """A form for the one business that somebody has: nothing that is sent changes it."""

    class FixedBusinessForm(form):  # type: ignore[misc]
        """Starts with the business and ignores what comes for it."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.initial["business"] = business_id
            self.fields["business"].disabled = True

    return FixedBusinessForm


def without_field(fieldsets: Any, name: str) -> list[tuple[Any, dict[str, Any]]]:
    """The same fieldsets but for one field, also where it shares a line."""
    return [(title, {**options, "fields": _fields_without(options["fields"], name)}) for title, options in fieldsets]


def _fields_without(fields: Sequence[Any], name: str) -> list[Any]:
    kept: list[Any] = []
    for field in fields:
        line = [item for item in field if item != name] if isinstance(field, list | tuple) else field
        if line and line != name:
            kept.append(line)
    return kept
