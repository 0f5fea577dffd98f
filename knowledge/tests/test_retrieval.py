"""Finding passages: by words and by vectors, of one business and one bot, and nothing of anybody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import BusinessFactory
from knowledge import ann, postings, ranking, versions
from knowledge.choices import Fusion, VersionState
from knowledge.embeddings import registry
from knowledge.embeddings.scripted import ScriptedEmbedder
from knowledge.errors import EmbeddingUnavailable
from knowledge.indexing import finish_training, index_chunks
from knowledge.models import Chunk, Embedding, EmbeddingVersion, Posting
from knowledge.retrieval import Found, retrieve
from knowledge.snapshot import forget, snapshot_of
from knowledge.tests.pages import teach

pytestmark = pytest.mark.django_db

PAGES = (
    ("Returns", "You may return any bicycle within 30 days of delivery.", "https://shop.example/returns"),
    ("Trailers", "Model TX-410 folds flat and carries two children.", ""),
    ("Rückgabe", "Fahrräder können innerhalb von dreißig Tagen zurückgegeben werden.", ""),
    ("営業時間", "修理工場は月曜日から金曜日の九時から十八時まで営業しています。", ""),
)


@pytest.fixture
def shop(db: None) -> Business:
    business = BusinessFactory()
    teach(business.pk, *PAGES)
    return business


def find(business: Business, question: str, bot_id: int | None = None) -> Found:
    forget(business.pk)
    with business_scope(business.pk):
        snapshot = snapshot_of(business_id=business.pk, bot_id=bot_id)
        assert snapshot is not None
        return retrieve(snapshot=snapshot, query=question)


def titles(found: Found) -> list[str]:
    return [passage.title for passage in found.passages]


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Can I return bicycles?", "Returns"),
        ("Which weight does the TX-410 carry?", "Trailers"),
        ("Kann ich ein Fahrrad zurückgeben?", "Rückgabe"),
        ("営業時間は何時までですか", "営業時間"),
        ("bycicle retrun", "Returns"),
    ],
)
def test_the_right_page_comes_first(shop: Business, question: str, title: str) -> None:
    assert titles(find(shop, question))[0] == title


def test_evidence_tells_what_is_answered_from_what_is_not(shop: Business) -> None:
    assert find(shop, "Within how many days may I return a bicycle?").is_enough
    assert not find(shop, "What is the capital of Mongolia?").is_enough


def test_nothing_of_another_business_is_found(shop: Business) -> None:
    other = BusinessFactory()
    teach(other.pk, ("Secrets", "You may return any bicycle, says our competitor.", ""))
    assert "Secrets" not in titles(find(shop, "return a bicycle"))
    assert titles(find(other, "return a bicycle")) == ["Secrets"]


def test_a_bot_finds_what_it_was_taught_and_what_every_bot_was(shop: Business) -> None:
    teach(shop.pk, ("For seven", "Bicycles of bot seven are returned by boat.", ""), bot_id=7)
    assert "For seven" in titles(find(shop, "return bicycles by boat", bot_id=7))
    assert "For seven" not in titles(find(shop, "return bicycles by boat", bot_id=8))


def test_a_search_takes_two_statements(shop: Business) -> None:
    with business_scope(shop.pk):
        snapshot = snapshot_of(business_id=shop.pk, bot_id=None)
        assert snapshot is not None
        with CaptureQueriesContext(connection) as queries:
            retrieve(snapshot=snapshot, query="return a bicycle")
    assert len(queries) == 2


def test_what_a_bot_knows_is_remembered_for_a_while(shop: Business) -> None:
    forget(shop.pk)
    with business_scope(shop.pk), CaptureQueriesContext(connection) as queries:
        assert snapshot_of(business_id=shop.pk, bot_id=None) is snapshot_of(business_id=shop.pk, bot_id=None)
    assert len(queries) == 1


def test_a_deleted_chunk_leaves_no_word_and_no_vector(shop: Business) -> None:
    with platform_scope():
        Chunk.objects.get(heading="Trailers").document.delete()
    finish_training(business_id=shop.pk, now=timezone.now())
    with platform_scope():
        assert not Posting.objects.filter(term__startswith="tx-410").exists()
        assert Embedding.objects.count() == Chunk.objects.count() == 3
    assert "Trailers" not in titles(find(shop, "Model TX-410"))


def test_indexing_again_embeds_nothing(shop: Business) -> None:
    with platform_scope():
        chunk_ids = list(Chunk.objects.values_list("pk", flat=True))
        before = Posting.objects.count()
    again = index_chunks(business_id=shop.pk, chunk_ids=chunk_ids, now=timezone.now())
    with platform_scope():
        assert (again.embedded, Posting.objects.count()) == (0, before)


def test_many_small_segments_become_few(shop: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "MOST_SEGMENTS", 2)
    for number in range(4):
        teach(shop.pk, (f"Page {number}", f"Helmet number {number} is red.", ""))
    with platform_scope():
        assert Posting.objects.filter(term="").count() <= 2
    assert "Page 3" in titles(find(shop, "helmet number 3"))


@pytest.fixture
def scripted(settings: Settings) -> Iterator[ScriptedEmbedder]:
    settings.EMBEDDING_PROVIDER = "scripted"
    registry.embedder_named.cache_clear()
    embedder = registry.embedder_named("scripted")
    assert isinstance(embedder, ScriptedEmbedder)
    yield embedder
    registry.embedder_named.cache_clear()


def test_another_model_grows_beside_the_old_one_and_takes_over(shop: Business, scripted: ScriptedEmbedder) -> None:
    now = timezone.now()
    finish_training(business_id=shop.pk, now=now)
    with platform_scope():
        states = dict(EmbeddingVersion.objects.values_list("provider", "state"))
        assert states == {"hashed": VersionState.DEPRECATED, "scripted": VersionState.ACTIVE}
        assert Embedding.objects.count() == 8
    assert titles(find(shop, "return a bicycle"))[0] == "Returns"
    assert versions.drop_replaced(business_id=shop.pk) == 1
    with platform_scope():
        assert Embedding.objects.count() == 4


def test_words_alone_decide_while_the_embedder_is_away(shop: Business, scripted: ScriptedEmbedder) -> None:
    finish_training(business_id=shop.pk, now=timezone.now())
    scripted.failure = EmbeddingUnavailable()
    assert titles(find(shop, "return a bicycle"))[0] == "Returns"


class TestFusion:
    def test_what_both_rankings_like_comes_first(self) -> None:
        fused = ranking.fuse(
            dense={1: 0.9, 2: 0.8}, lexical={2: 5.0, 3: 4.0}, headings={}, fusion=Fusion.RRF, provider="openai"
        )
        assert [chunk for chunk, _ in fused] == [2, 1, 3]

    def test_a_provider_without_meaning_does_not_outvote_the_words(self) -> None:
        fused = ranking.fuse(
            dense={1: 0.9, 2: 0.8}, lexical={2: 5.0, 1: 4.9}, headings={}, fusion=Fusion.RRF, provider="hashed"
        )
        assert fused[0][0] == 2

    def test_scores_between_their_extremes_keep_their_distances(self) -> None:
        fused = dict(
            ranking.fuse(dense={}, lexical={1: 3.0, 2: 2.0, 3: 1.0}, headings={}, fusion=Fusion.MIN_MAX, provider="x")
        )
        assert fused == {1: 1.0, 2: 0.5, 3: 0.0}


@pytest.mark.django_db(transaction=True)
def test_a_large_business_gets_an_index_of_its_own_and_nobody_else_s_rows(settings: Settings) -> None:
    settings.KNOWLEDGE_EXACT_SCAN_CHUNKS = 3
    business, small = BusinessFactory(), BusinessFactory()
    teach(business.pk, *PAGES)
    teach(small.pk, PAGES[0])
    with platform_scope():
        assert dict(EmbeddingVersion.objects.values_list("business_id", "has_index")) == {
            business.pk: True,
            small.pk: False,
        }
        version = EmbeddingVersion.objects.get(business_id=business.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [ann.index_name(version)])
        (definition,) = cursor.fetchone()
    assert f"business_id = {business.pk}" in definition
    assert f"embedding_version_id = {version.pk}" in definition
    assert titles(find(business, "return a bicycle"))[0] == "Returns"
    ann.drop_index(version)
