"""Rows inserted by a statement that is built once are the rows that `save` would have written."""

import uuid

import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import platform_scope
from mia.lib import rows
from mia.lib.rows import insert
from miners.models import Job

pytestmark = pytest.mark.django_db


def new_job() -> Job:
    return Job(
        kind="chat",
        lane=0,
        messages=[{"role": "user", "content": "Où est mon colis ? 📦"}],
        params={"stop": ["\n"]},
        features=["tools", "json"],
        tool_choice={"type": "function"},
        deadline=timezone.now(),
    )


def test_a_row_reads_as_it_was_written() -> None:
    inserted, saved = new_job(), new_job()
    with platform_scope():
        insert(inserted)
        saved.save(force_insert=True)
        read = [Job.objects.values().get(pk=job.pk) for job in (inserted, saved)]
    differing = {name for name in read[0] if read[0][name] != read[1][name]}
    assert differing == {"id", "deadline", "created_at"}
    assert isinstance(inserted.pk, uuid.UUID)


def test_an_inserted_row_is_saved_again_as_an_update() -> None:
    with platform_scope():
        job = new_job()
        insert(job)
        job.model = "other"
        job.save()
        assert Job.objects.get().model == "other"


def test_an_automatic_key_is_read_back() -> None:
    user = User(email="alice@example.org", password="!")
    insert(user)
    assert User.objects.get(pk=user.pk).email == "alice@example.org"


def test_constraints_hold() -> None:
    job = new_job()
    job.state = "lost"
    with pytest.raises(IntegrityError), platform_scope():
        insert(job)


def test_a_found_row_is_the_row_that_a_query_finds() -> None:
    with platform_scope():
        job = new_job()
        insert(job)
        found, queried = rows.find(Job, id=job.pk, kind="chat"), Job.objects.get(pk=job.pk)
    assert found is not None
    assert [getattr(found, field.attname) for field in Job._meta.concrete_fields] == [
        getattr(queried, field.attname) for field in Job._meta.concrete_fields
    ]
    assert (found._state.adding, found._state.db) == (False, "default")


def test_no_row_is_found_where_none_is_in_scope() -> None:
    with platform_scope():
        job = new_job()
        insert(job)
        assert rows.find(Job, id=job.pk, kind="canary") is None
    assert rows.find(Job, id=job.pk) is None


def test_an_update_writes_the_named_fields_and_no_other() -> None:
    with platform_scope():
        job = new_job()
        insert(job)
        job.params, job.model, job.topic = {"seed": 1}, "other", "not written"
        rows.update(job, "params", "model")
        read = Job.objects.get(pk=job.pk)
    assert (read.params, read.model, read.topic) == ({"seed": 1}, "other", "")


def test_a_row_that_is_there_already_is_left_out_when_asked() -> None:
    insert(User(email="alice@example.org", password="!"))
    second = User(email="alice@example.org", password="!")
    insert(second, on_conflict="DO NOTHING")
    assert second.pk is None
    assert User.objects.filter(email="alice@example.org").count() == 1
