"""Every RQ task that works for a business, called for A with the ids of B."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from django.core.exceptions import ObjectDoesNotExist

from accounts.tasks import TenantTask
from mia.lib.errors import ApplicationError
from mia.tests.sweep.identities import ids_of, link_names
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.world import World

APPS: Final = ("accounts", "miners", "knowledge", "chats", "mia")


def tenant_tasks() -> list[TenantTask]:
    modules = [import_module(f"{app}.tasks") for app in APPS if find_spec(f"{app}.tasks") is not None]
    return [item for module in modules for item in vars(module).values() if isinstance(item, TenantTask)]


def sweep_tasks(world: World, judge: Judge, tasks: Iterable[TenantTask]) -> None:
    """Calls each task as the worker would; not finding the row is the right answer."""
    for task in tasks:
        known = {**link_names(world.b), **ids_of(world.b)}
        wanted = [name for name in inspect.signature(task.function).parameters if name != "business_id"]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            judge.find(task.path, f"the sweep has no id for {unknown}")
            continue
        with contextlib.suppress(ObjectDoesNotExist, ApplicationError):
            task(business_id=world.a.business.pk, **{name: known[name] for name in wanted})
        judge.look_at_rows(task.path)
