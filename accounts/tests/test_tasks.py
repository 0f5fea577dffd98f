"""RQ tasks that work for one business."""

from __future__ import annotations

import json
from datetime import datetime

import django_rq
import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import ApiKey, Business
from accounts.tasks import tenant_task
from accounts.tests.factories import ApiKeyFactory
from accounts.tests.scopes import scope_in_force

pytestmark = pytest.mark.django_db
seen: list[tuple[int, list[int], int]] = []


@tenant_task
def look(*, business_id: int, key_id: int = 0) -> None:
    """Notes what it sees."""
    seen.append((business_id, list(ApiKey.objects.values_list("pk", flat=True)), key_id))


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


def test_a_task_sees_its_business_only(secret_key: ApiKey, other_secret_key: ApiKey) -> None:
    look(business_id=secret_key.business_id)
    assert seen == [(secret_key.business_id, [secret_key.pk], 0)]
    assert scope_in_force() == ("", "")


def test_a_task_with_the_id_of_another_business_row_does_not_find_it(
    secret_key: ApiKey, other_secret_key: ApiKey
) -> None:
    look(business_id=secret_key.business_id, key_id=other_secret_key.pk)
    assert other_secret_key.pk not in seen[0][1]


def test_a_task_without_a_business_does_not_run() -> None:
    with pytest.raises(TypeError):
        look(key_id=1)  # type: ignore[call-arg]
    assert seen == []


def test_a_failed_task_changes_nothing(secret_key: ApiKey) -> None:
    @tenant_task
    def rename_and_fail(*, business_id: int) -> None:
        Business.objects.update(name="renamed")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rename_and_fail(business_id=secret_key.business_id)
    assert not Business.objects.filter(name="renamed").exists()


def test_a_task_is_queued_when_the_transaction_commits(
    business: Business, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    queue = django_rq.get_queue()
    with django_capture_on_commit_callbacks(execute=True):
        look.enqueue(business_id=business.pk, key_id=3)
        assert queue.count == 0
    (job,) = queue.jobs
    assert job.func_name == "accounts.tests.test_tasks.look"
    assert job.kwargs == {"business_id": business.pk, "key_id": 3}


def test_a_queued_task_runs_in_its_scope(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    key = ApiKeyFactory()
    ApiKeyFactory()
    with django_capture_on_commit_callbacks(execute=True):
        look.enqueue(business_id=key.business_id)
    (job,) = django_rq.get_queue().jobs
    job.func(**job.kwargs)
    assert seen == [(key.business_id, [key.pk], 0)]


def test_nothing_is_pickled_into_redis(
    business: Business, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    import zlib

    with django_capture_on_commit_callbacks(execute=True):
        look.enqueue(business_id=business.pk)
    queue = django_rq.get_queue()
    stored = queue.connection.hget(f"rq:job:{queue.job_ids[0]}", "data")
    assert json.loads(zlib.decompress(stored))[0] == "accounts.tests.test_tasks.look"


@pytest.mark.parametrize("value", [datetime(2026, 1, 1), object(), {1, 2}, float("nan"), b"x"])  # noqa: DTZ001
def test_arguments_that_json_cannot_hold_are_refused_when_queued(value: object, business: Business) -> None:
    with pytest.raises((TypeError, ValueError)):
        look.enqueue(business_id=business.pk, value=value)
    assert django_rq.get_queue().count == 0
