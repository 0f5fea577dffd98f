"""Training under bad luck: workers that die, two at once, sources that vanish, embedders that are away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError, IntegrityError
from django.utils import timezone
from pytest_django import Settings
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from knowledge import cleaning, duties, runs, services, storage, training
from knowledge.embeddings import registry
from knowledge.errors import TrainingInProgress
from knowledge.models import Chunk, Document, Embedding, EmbeddingVersion, Source, TrainingJob, UploadedFile
from knowledge.tests.factories import add_file, add_source, chunks, fresh, queue, train
from knowledge.tests.site import HOST, Answer, Site
from mia.lib.redis import sync_redis

DIMENSIONS = 8


@pytest.fixture
def embedder(site: Site, settings: Settings) -> Iterator[dict[str, Any]]:
    """An OpenAI-compatible embedder on the site; what is put into the dictionary, it does."""
    does: dict[str, Any] = {}

    def answer() -> Answer:
        if "status" in does:
            return Answer(b"{}", does["status"], "application/json")
        if "hang" in does:
            does["hang"]()
        inputs = json.loads(site.posted)["input"]
        size = does.get("dimensions", DIMENSIONS)
        data = [{"index": n, "embedding": [1.0] + [0.0] * (size - 1)} for n in range(len(inputs))]
        return Answer(json.dumps({"data": data, "model": "m"}).encode(), media_type="application/json")

    site.pages["/v1/embeddings"] = answer
    for name, value in embedder_settings(site).items():
        setattr(settings, name, value)
    registry.embedder_named.cache_clear()
    yield does
    registry.embedder_named.cache_clear()


def embedder_settings(site: Site) -> dict[str, Any]:
    return {
        "EMBEDDING_PROVIDER": "openai",
        "EMBEDDING_URL": site.url("/v1"),
        "EMBEDDING_MODEL": "m",
        "EMBEDDING_DIMENSIONS": DIMENSIONS,
    }


def start_worker(business: Business, job: TrainingJob, site: Site) -> subprocess.Popen[bytes]:
    """In the test's own database."""
    given = connection.get_connection_params()
    url = f"postgresql://{given['user']}@/{given['dbname']}?host={given['host']}"
    url += f"&port={given['port']}" if given.get("port") else ""
    own = {name: str(value) for name, value in embedder_settings(site).items()}
    environment = os.environ | own | {
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "mia.settings",
        "OUTBOUND_LOOPBACK_NETWORKS": f"{HOST}/32",
        "OUTBOUND_ALLOWED_PORTS": str(site.port),
        "TRAINING_READERS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "knowledge.tests.worker", str(business.pk), str(job.pk)]
    return subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment)


def hang_once(reached: threading.Event, answer: Callable[[], Answer]) -> Callable[[], Answer]:
    """The first request is never answered in time; the others are."""
    seen: list[int] = []

    def answered() -> Answer:
        seen.append(1)
        if len(seen) == 1:
            reached.set()
            threading.Event().wait(8)
        return answer()

    return answered


def fixed(answer: Any) -> Callable[[], Answer]:
    return answer if callable(answer) else lambda: answer


def time_passes(business: Business) -> None:
    """As long as a worker may be silent."""
    with business_scope(business.pk):
        TrainingJob.objects.update(seen_at=timezone.now() - runs.STALE - timedelta(seconds=1))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stage", ["finding", "reading", "embedding"])
def test_a_killed_worker_loses_nothing(business: Business, site: Site, embedder: dict[str, Any], stage: str) -> None:
    for number in range(20):
        site.page(f"/{number}", f"Page {number}")
    location = site.sitemap(*(f"/{number}" for number in range(20)))
    source = add_source(business, kind="sitemap", location=location)
    job = queue(business, source)
    place = {"finding": "/sitemap.xml", "reading": "/18", "embedding": "/v1/embeddings"}[stage]
    reached = threading.Event()
    site.pages[place] = hang_once(reached, fixed(site.pages[place]))
    worker = start_worker(business, job, site)
    assert reached.wait(30)
    with business_scope(business.pk):
        job.refresh_from_db()
    assert (job.status, job.stage) == ("processing", stage)
    worker.kill()
    worker.wait()
    site.forget()
    training.train(business_id=business.pk, job_id=job.pk)  # Too early: the job is still in other hands.
    assert site.requests == []
    time_passes(business)
    training.train(business_id=business.pk, job_id=job.pk)
    assert fresh(business, source).status == "trained"
    with business_scope(business.pk):
        job.refresh_from_db()
        assert (job.status, job.attempts) == ("completed", 2)
        assert Embedding.objects.count() == Chunk.objects.count() == 20
    if stage == "embedding":
        assert site.asked("/0") == []


@pytest.mark.django_db(transaction=True)
def test_two_trainings_at_once_become_one(business: Business) -> None:
    add_source(business, kind="text", text="Words.")
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        try:
            with business_scope(business.pk):
                job = services.queue_training(
                    business_id=business.pk, bot_id=None, requested_by="test", now=timezone.now()
                )
            outcomes.append("queued" if job else "nothing")
        except TrainingInProgress:
            outcomes.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("queued") == 1
    with business_scope(business.pk):
        assert TrainingJob.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_one_job_do_it_once(business: Business, site: Site) -> None:
    for number in range(10):
        site.page(f"/{number}", f"Page {number}")
    add_source(business, kind="sitemap", location=site.sitemap(*(f"/{number}" for number in range(10))))
    job = queue(business)

    def work() -> None:
        training.train(business_id=business.pk, job_id=job.pk)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.asked("/3") == [200]
    assert len(chunks(business)) == 10


@pytest.mark.django_db(transaction=True)
def test_a_source_deleted_while_it_trains_leaves_nothing(business: Business, site: Site) -> None:
    for number in range(8):
        site.page(f"/{number}", f"Page {number}")
    doomed = add_source(business, kind="sitemap", location=site.sitemap(*(f"/{number}" for number in range(8))))
    other = add_source(business, kind="text", text="Words that stay.")
    last = site.pages["/7"]

    def delete_meanwhile() -> Answer:
        with business_scope(business.pk):
            services.delete_source(business_id=business.pk, source_id=doomed.pk, requested_by="x", now=timezone.now())
        connections.close_all()
        return fixed(last)()

    site.pages["/7"] = delete_meanwhile
    job = train(business)
    assert job.status == "completed"
    assert [chunk.words for chunk in chunks(business)] == ["Words that stay."]
    assert fresh(business, other).status == "trained"
    with business_scope(business.pk):
        assert not Document.objects.filter(source_id=doomed.pk).exists()


@pytest.mark.django_db
def test_an_embedder_that_is_away_is_waited_for(business: Business, embedder: dict[str, Any]) -> None:
    source = add_source(business, kind="text", text="Words.")
    embedder["status"] = 503
    job = train(business)
    assert (job.status, "answered 503" in job.error) == ("queued", True)
    assert job.due_at > timezone.now()
    del embedder["status"]
    assert train(business).status == "completed"
    assert fresh(business, source).status == "trained"


@pytest.mark.django_db
def test_after_many_tries_it_fails_with_the_reason(business: Business, embedder: dict[str, Any]) -> None:
    source = add_source(business, kind="text", text="Words.")
    embedder["status"] = 503
    for _ in range(5):
        job = train(business)
    assert job.status == "failed"
    assert "answered 503" in fresh(business, source).error


@pytest.mark.django_db
def test_vectors_of_another_size_are_refused(business: Business, embedder: dict[str, Any]) -> None:
    source = add_source(business, kind="text", text="Words.")
    embedder["dimensions"] = DIMENSIONS + 1
    assert train(business).status == "failed"
    assert fresh(business, source).status == "training_failed"
    with business_scope(business.pk):
        assert not Embedding.objects.exists()


@pytest.mark.django_db
def test_the_database_itself_takes_no_vector_of_another_size(business: Business) -> None:
    add_source(business, kind="text", text="Words.")
    train(business)
    with business_scope(business.pk):
        (row,) = Embedding.objects.all()
        wrong = [0.5] * (row.dimensions + 1)
        with pytest.raises(IntegrityError), transaction.atomic():
            Embedding.objects.filter(pk=row.pk).update(vector=wrong)
        with pytest.raises(DatabaseError), transaction.atomic():
            Embedding.objects.filter(pk=row.pk).update(vector=wrong, dimensions=len(wrong))
        assert EmbeddingVersion.objects.get().dimensions == row.dimensions


@pytest.mark.django_db
def test_a_long_training_gives_others_their_turn(business: Business, site: Site, settings: Settings) -> None:
    site.page("/a", "A")
    add_source(business, kind="sitemap", location=site.sitemap("/a"))
    settings.TRAINING_SLICE_S = -1
    job = train(business)
    assert (job.status, job.attempts) == ("queued", 0)
    settings.TRAINING_SLICE_S = 120
    assert train(business).status == "completed"


@pytest.mark.django_db
def test_abandoned_trainings_are_given_to_the_queue_again(
    business: Business, django_capture_on_commit_callbacks: Any
) -> None:
    add_source(business, kind="text", text="Words.")
    job = queue(business)
    later = timezone.now() + runs.UNTAKEN + timedelta(seconds=1)
    with django_capture_on_commit_callbacks(execute=True), platform_scope():
        duties.revive_trainings(now=timezone.now())
        assert sync_redis().llen("rq:queue:training") == 0
        duties.revive_trainings(now=later)
    assert sync_redis().llen("rq:queue:training") == 1
    with business_scope(business.pk):
        job.refresh_from_db()
        assert job.due_at > later


@pytest.mark.django_db
def test_a_training_that_kills_its_workers_is_given_up(business: Business) -> None:
    source = add_source(business, kind="text", text="Words.")
    job = queue(business)
    with business_scope(business.pk):
        TrainingJob.objects.update(status="processing", attempts=5, seen_at=timezone.now() - timedelta(hours=1))
        duties.revive_trainings(now=timezone.now())
        job.refresh_from_db()
    assert job.status == "failed"
    assert "interrupted again and again" in fresh(business, source).error


@pytest.mark.django_db
def test_what_is_due_is_looked_at_again(business: Business, site: Site) -> None:
    site.page("/a", "A")
    source = add_source(business, location=site.url("/a"), refresh_hours=1)
    train(business)
    source = fresh(business, source)
    assert source.next_refresh_at is not None
    with platform_scope():
        duties.queue_due_refreshes(now=source.next_refresh_at - timedelta(seconds=1))
        assert not TrainingJob.objects.live().exists()
        duties.queue_due_refreshes(now=source.next_refresh_at)
    job = train(business)
    assert (job.kind, job.status, job.requested_by) == ("refresh", "completed", "schedule")
    assert site.asked("/a") == [200, 304]


@pytest.mark.django_db
def test_what_joins_a_running_training_is_trained_with_it(business: Business) -> None:
    first = add_source(business, kind="text", text="First words.")
    job = queue(business, first)
    second = add_source(business, kind="text", text="Second words.")
    assert queue(business, second).pk == job.pk
    train(business)
    assert {fresh(business, source).status for source in (first, second)} == {"trained"}


@pytest.mark.django_db
def test_nothing_of_a_departed_business_stays(business: Business, other_business: Business) -> None:
    add_file(business, "a.csv", b"a,b\n1,2\n")
    train(business)
    add_source(other_business, kind="text", text="Words.")
    with platform_scope():
        key = UploadedFile.objects.get().storage_key
        Business.objects.filter(pk=business.pk).delete()
        duties.forget_the_departed(now=timezone.now())
        assert set(Source.objects.values_list("business_id", flat=True)) == {other_business.pk}
        for model in cleaning.own_tables():
            assert not model._default_manager.filter(business_id=business.pk).exists(), model
    assert not storage.files().exists(key)


@pytest.mark.django_db(transaction=True)
def test_what_changes_while_it_is_trained_is_trained_once_more(business: Business, site: Site) -> None:
    site.page("/a", "A", "The first words of this page. " * 5)
    source = add_source(business, location=site.url("/a"))
    first = fixed(site.pages["/a"])

    def change_meanwhile() -> Answer:
        answer = first()
        site.page("/a", "A", "The second words of this page. " * 5)
        with business_scope(business.pk):
            services.train_again(chosen=[source], requested_by="test", now=timezone.now())
        connections.close_all()
        return answer

    site.pages["/a"] = change_meanwhile
    assert train(business).status == "completed"
    assert "second words" in chunks(business)[0].words
    assert fresh(business, source).status == "trained"


@pytest.mark.django_db
def test_a_text_changed_after_its_turn_is_read_again_by_the_same_job(business: Business) -> None:
    source = add_source(business, kind="text", text="First words.")
    job = queue(business, source)
    run = runs.claim(business_id=business.pk, job_id=str(job.pk), now=timezone.now())
    assert run is not None
    with training.Desk(run.job_id) as desk:
        training._train_source(run, desk, source.pk)
    with business_scope(business.pk):
        Source.objects.update(text="Second words.")
        services.train_again(chosen=[source], requested_by="test", now=timezone.now())
    run.hand_on(now=timezone.now())
    train(business)
    assert [chunk.words for chunk in chunks(business)] == ["Second words."]


@pytest.mark.django_db(transaction=True)
def test_a_worker_takes_it_from_the_queue(business: Business) -> None:
    source = add_source(business, kind="text", text="Words.")
    queue(business, source)
    job_queue = django_rq.get_queue("training")
    SimpleWorker([job_queue], connection=job_queue.connection, serializer=JSONSerializer).work(burst=True)
    assert fresh(business, source).status == "trained"
