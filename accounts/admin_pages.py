"""Pages of rows that are read and acted upon, where a form would say less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.views.decorators.http import require_POST

from accounts.choices import AuditAction
from accounts.forms import refusal_texts
from accounts.permissions import Right
from accounts.scoped_admin import Method, TenantModelAdmin
from accounts.tenancy import undoable
from mia.lib.errors import ApplicationError

if TYPE_CHECKING:
    Row = TypeVar("Row", bound=models.Model)
else:
    from accounts.scoped_admin import Row

Text = str | Promise
MAX_WORDS: Final = 200


def _always(row: Any) -> bool:
    return True


@dataclass(frozen=True)
class PageAction:
    """A button on the page of a row. `confirm` asks first; `asks` labels a line of text that the act is given."""

    label: Text
    right: Right = Right.WORK
    icon: str = ""
    variant: str = "default"
    confirm: Text = ""
    asks: Text = ""
    offered: Callable[[Any], bool] = _always
    name: str = ""


def page_action(action: PageAction) -> Callable[[Method], Method]:
    """Makes a method `(request, row, words) -> what to tell the user` a button of the row's page."""

    def decorate(method: Method) -> Method:
        method.page_action = action  # type: ignore[attr-defined]
        return method

    return decorate


class ActionsModelAdmin(TenantModelAdmin[Row]):
    """Adds buttons to the page of a row: each is one POST, checked again, on record, and one domain call."""

    page_actions: tuple[str, ...] = ()

    def offered_actions(self, request: HttpRequest, row: Row) -> list[PageAction]:
        """The buttons that this user is shown for a row in its present state."""
        known = [self._action(name) for name in self.page_actions]
        return [action for action in known if action.offered(row) and self.allows(request, action.right, row)]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_act"
        view = self.admin_site.admin_view(require_POST(self.act_view))
        return [path("<path:object_id>/act/<slug:name>/", view, name=name), *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None or name not in self.page_actions or not self.has_view_permission(request, row):
            raise Http404
        action = self._action(name)
        if not self.allows(request, action.right, row):
            raise PermissionDenied
        self._act(request, row, action)
        return HttpResponseRedirect(self.page_url(row))

    def page_url(self, row: models.Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def page_context(self, request: HttpRequest, row: Row) -> dict[str, Any]:
        """What the page's template is given beside the row."""
        return {}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None or not self.has_view_permission(request, row):
            raise Http404
        context = {
            "page_actions": self.offered_actions(request, row),
            "page_action_base": f"admin:{self.opts.app_label}_{self.opts.model_name}_act",
            **self.page_context(request, row),
            **(extra_context or {}),
        }
        return self.show(request, row, form_url, context)

    def show(self, request: HttpRequest, row: Row, form_url: str, context: dict[str, Any]) -> HttpResponse:
        """The form of the row; a subclass may show a page instead."""
        return super().change_view(request, str(row.pk), form_url, context)

    def _action(self, name: str) -> PageAction:
        return PageAction(**{**vars(getattr(self, name).page_action), "name": name})

    def _act(self, request: HttpRequest, row: Row, action: PageAction) -> None:
        if not action.offered(row):
            messages.warning(request, f"{row}: {action.label}: this is no longer possible.")
            return
        words = request.POST.get("words", "").replace("\x00", "").strip()[:MAX_WORDS]
        try:
            with undoable():
                told = getattr(self, action.name)(request, row, words)
                self.record(
                    request, AuditAction.PERFORMED, row, {"act": action.name, **({"words": words} if words else {})}
                )
        except ApplicationError as error:
            messages.error(request, " ".join(refusal_texts(error)))
        else:
            messages.success(request, told)


class PageModelAdmin(ActionsModelAdmin[Row]):
    """Rows that are shown on a page of their own and never edited in a form."""

    page_template: str
    add_right = change_right = delete_right = None

    def show(self, request: HttpRequest, row: Row, form_url: str, context: dict[str, Any]) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        page = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "original": row,
            "has_view_permission": True,
            **context,
        }
        return TemplateResponse(request, self.page_template, page)
