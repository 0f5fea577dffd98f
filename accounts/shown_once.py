"""What the admin shows right after a service made something with a secret in it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.audit import Changes
from accounts.scoped_admin import TenantModelAdmin


def become(form_row: models.Model, saved: models.Model) -> None:
    """Gives the admin's unsaved row what the service saved, so that the admin can log and link it."""
    for field in saved._meta.concrete_fields:
        setattr(form_row, field.attname, getattr(saved, field.attname))
    form_row._state.adding = False


def shown_once_page(
    model_admin: TenantModelAdmin[Any], request: HttpRequest, obj: models.Model, template: str, context: Changes
) -> TemplateResponse:
    """A page instead of a redirect: what it shows is kept nowhere, not even in a message."""
    page = {
        **model_admin.admin_site.each_context(request),
        "title": str(obj),
        "opts": obj._meta,
        "original": obj,
        "list_url": reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_changelist"),
        **context,
    }
    return TemplateResponse(request, template, page, headers={"Cache-Control": "no-store"})
