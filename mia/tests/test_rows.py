"""Rows inserted by a statement that is built once are the rows that `save` would have written."""

import uuid

import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import platform_scope
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
        rows = [Job.objects.values().get(pk=job.pk) for job in (inserted, saved)]
    differing = {name for name in rows[0] if rows[0][name] != rows[1][name]}
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
