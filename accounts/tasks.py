"""The base of RQ tasks that work for one business."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Protocol

import django_rq

from accounts.tenancy import business_scope, undoable


class TenantFunction(Protocol):
    """A function that works for the business it is given, by ids."""

    __module__: str
    __qualname__: str

    def __call__(self, *, business_id: int, **arguments: Any) -> object: ...


class TenantTask:
    """A function that RQ runs inside the scope of the business it was queued for."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        update_wrapper(self, function)

    def __call__(self, *, business_id: int, **arguments: object) -> object:
        with undoable(), business_scope(business_id):
            return self.function(business_id=business_id, **arguments)

    @property
    def path(self) -> str:
        """What RQ stores instead of the function, so that nothing is pickled."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def enqueue(self, *, business_id: int, queue: str = "default", **arguments: object) -> None:
        """Queues the task when the transaction commits. Raises TypeError for arguments that JSON cannot hold."""
        payload = {"business_id": int(business_id), **arguments}
        json.dumps(payload, allow_nan=False)
        django_rq.get_queue(queue).enqueue(self.path, kwargs=payload)


class LongTenantTask(TenantTask):
    """A task that opens its business's scope itself, piece by piece: in one it would hold a transaction for minutes."""

    def __call__(self, *, business_id: int, **arguments: object) -> object:
        return self.function(business_id=business_id, **arguments)


def long_tenant_task(function: Callable[..., object]) -> LongTenantTask:
    """Likewise, of a function that opens its scopes itself."""
    return LongTenantTask(function)


def tenant_task(function: Callable[..., object]) -> TenantTask:
    """Makes a task of a function that takes `business_id` and other ids by name."""
    return TenantTask(function)
