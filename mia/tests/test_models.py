"""The abstract models, on a table of their own."""

from datetime import UTC, datetime

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps
from django.utils import timezone

from mia.lib.models import TimestampedModel

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def note_model(db):
    with isolate_apps("mia.apps.MiaConfig"):

        class Note(TimestampedModel):
            text = models.CharField(max_length=20)

            class Meta:
                app_label = "mia"

        with connection.schema_editor() as editor:
            editor.create_model(Note)
        return Note


def test_a_row_knows_when_it_was_made(note_model):
    note = note_model.objects.create(text="x")
    assert abs((timezone.now() - note.created_at).total_seconds()) < 5


def test_a_service_may_pass_its_own_now(note_model):
    assert note_model.objects.create(text="x", created_at=LONG_AGO).created_at == LONG_AGO


def test_saving_moves_updated_at_and_leaves_created_at(note_model):
    note = note_model.objects.create(text="x", created_at=LONG_AGO)
    first = note.updated_at
    note.save()
    note.refresh_from_db()
    assert note.updated_at > first
    assert note.created_at == LONG_AGO


def test_a_partial_save_moves_updated_at_too(note_model):
    note = note_model.objects.create(text="x")
    first = note.updated_at
    note.text = "y"
    note.save(update_fields=["text"])
    note.refresh_from_db()
    assert (note.text, note.updated_at > first) == ("y", True)


def test_a_save_of_nothing_stays_a_save_of_nothing(note_model, django_assert_num_queries):
    note = note_model.objects.create(text="x")
    with django_assert_num_queries(0):
        note.save(update_fields=[])
