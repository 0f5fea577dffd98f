"""How well and how fast answers are found: dense, full-text and fused, side by side, in six languages.

usage: python -m benchmarks.retrieval [--sizes 1000 20000 100000] [--docstrings 300]

The pages that hold the answers are hidden among ever more others. `shared` questions use words of the page,
`paraphrased` ones hardly any, `docstrings` are first sentences whose remaining text must be found. Refusals are judged
at the threshold that `manage.py calibrate` finds on half of the questions, on the other half. No number is asserted.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.corpus import Article, docstrings, filler, help_pages, unanswerable
from benchmarks.dispatch import quantile
from benchmarks.platform import running_database

BATCH = 512
DEPTH = 20


@dataclass
class Quality:
    """The ranks at which the right page came; 0 where it did not come."""

    ranks: list[int] = field(default_factory=list)

    def recall(self, depth: int) -> float:
        return sum(0 < rank <= depth for rank in self.ranks) / max(len(self.ranks), 1)

    @property
    def mrr(self) -> float:
        return sum(1 / rank for rank in self.ranks if rank) / max(len(self.ranks), 1)

    @property
    def ndcg(self) -> float:
        return sum(1 / math.log2(rank + 1) for rank in self.ranks if 0 < rank <= 10) / max(len(self.ranks), 1)

    def row(self) -> str:
        return f"{self.ndcg:.3f} | {self.recall(10):.3f} | {self.recall(20):.3f} | {self.mrr:.3f}"


@dataclass
class Shop:
    """A business with its pages; `documents` tells which document each article became."""

    business: Any
    source: Any
    documents: dict[str, int] = field(default_factory=dict)
    chunks: int = 0


def build(articles: Iterable[Article]) -> Shop:
    from accounts.tenancy import platform_scope
    from accounts.tests.factories import BusinessFactory
    from knowledge.models import Source

    with platform_scope():
        business = BusinessFactory()
        source = Source.objects.create(business_id=business.pk, kind="text", title="Help", text="x")
    shop = Shop(business, source)
    add(shop, [(article.key, article.language, article.title, article.text) for article in articles])
    return shop


def add(shop: Shop, pages: Sequence[tuple[str, str, str, str]]) -> float:
    """Stores and indexes pages, one chunk each; the seconds that indexing took."""
    from django.utils import timezone

    from accounts.tenancy import platform_scope
    from knowledge.choices import search_configuration
    from knowledge.indexing import index_chunks
    from knowledge.models import Chunk, Document, Section

    spent = 0.0
    for at in range(0, len(pages), BATCH):
        part = pages[at : at + BATCH]
        own = {"business_id": shop.business.pk}
        with platform_scope():
            documents = Document.objects.bulk_create(
                Document(**own, source=shop.source, key=key, title=title, language=language)
                for key, language, title, _ in part
            )
            sections = Section.objects.bulk_create(
                Section(**own, document=document, position=0, text=page[3])
                for document, page in zip(documents, part, strict=True)
            )
            chunks = Chunk.objects.bulk_create(
                Chunk(
                    **own,
                    source=shop.source,
                    document=section.document,
                    section=section,
                    position=0,
                    heading=page[2],
                    words=page[3],
                    language=page[1],
                    configuration=search_configuration(page[1]),
                    content_hash=page[0][:64],
                )
                for section, page in zip(sections, part, strict=True)
            )
        shop.documents |= {page[0]: document.pk for document, page in zip(documents, part, strict=True)}
        began = time.perf_counter()
        index_chunks(business_id=shop.business.pk, chunk_ids=[chunk.pk for chunk in chunks], now=timezone.now())
        spent += time.perf_counter() - began
    shop.chunks += len(pages)
    return spent


def rankers(shop: Shop) -> dict[str, Callable[[str], list[int]]]:
    """Each way of searching as a function from a question to documents, best first."""
    from knowledge import lexical, retrieval
    from knowledge.snapshot import forget, snapshot_of

    forget(shop.business.pk)
    snapshot = snapshot_of(business_id=shop.business.pk, bot_id=None)
    assert snapshot is not None

    def both(question: str) -> tuple[list[dict[str, Any]], lexical.LexicalHits]:
        vector = retrieval.embedded(snapshot, question)
        hits = lexical.search(
            question,
            business_id=shop.business.pk,
            configurations=snapshot.configurations,
            chunk_count=snapshot.chunk_count,
            limit=retrieval.LEXICAL_CANDIDATES,
        )
        return retrieval.read(snapshot, vector, hits), hits

    def dense(question: str) -> list[int]:
        rows = [row for row in both(question)[0] if row["is_near"]]
        return [row["document_id"] for row in sorted(rows, key=lambda row: -row["similarity"])]

    def by_words(question: str) -> list[int]:
        rows, hits = both(question)
        documents = {row["id"]: row["document_id"] for row in rows}
        return [documents[chunk] for chunk in hits.chunk_ids.tolist() if chunk in documents]

    def fused(question: str) -> list[int]:
        return [passage.document_id for passage in found(question).passages]

    def found(question: str) -> retrieval.Found:
        return retrieval.retrieve(snapshot=snapshot, query=question, passages=DEPTH)

    return {"dense": dense, "full-text": by_words, "fused": fused}


def judge(rank: Callable[[str], list[int]], asked: Iterable[tuple[str, int]]) -> Quality:
    quality = Quality()
    for question, document in asked:
        ranked = rank(question)[:DEPTH]
        quality.ranks.append(ranked.index(document) + 1 if document in ranked else 0)
    return quality


def questions(shop: Shop, pages: Sequence[Article], documented: Sequence[Article]) -> dict[str, list[tuple[str, int]]]:
    sets = {
        "shared": [(page.question, shop.documents[page.key]) for page in pages],
        "paraphrased": [(page.paraphrase, shop.documents[page.key]) for page in pages if page.paraphrase],
        "docstrings": [(page.question, shop.documents[page.key]) for page in documented],
    }
    for language in sorted({page.language for page in pages}):
        sets[f"shared, {language}"] = [
            (page.question, shop.documents[page.key]) for page in pages if page.language == language
        ]
    return sets


def latency(shop: Shop, asked: Sequence[str]) -> list[float]:
    """Milliseconds of whole searches, as a chat makes them."""
    from accounts.tenancy import business_scope
    from knowledge.retrieval import retrieve
    from knowledge.snapshot import snapshot_of

    took = []
    for question in asked:
        with business_scope(shop.business.pk):
            snapshot = snapshot_of(business_id=shop.business.pk, bot_id=None)
            assert snapshot is not None
            began = time.perf_counter()
            retrieve(snapshot=snapshot, query=question)
            took.append((time.perf_counter() - began) * 1000)
    return took


def sizes_mb() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) / 1048576.0 FROM pg_class WHERE relname IN "
            "('knowledge_chunk', 'knowledge_embedding', 'knowledge_posting') ORDER BY 1"
        )
        tables = [f"{name.removeprefix('knowledge_')} {size:.0f}" for name, size in cursor.fetchall()]
        cursor.execute(
            "SELECT coalesce(sum(pg_relation_size(oid)), 0) / 1048576.0 FROM pg_class "
            "WHERE relname LIKE 'embedding_hnsw%'"
        )
        return ", ".join([*tables, f"of which HNSW {cursor.fetchone()[0]:.0f}"])


def refusals(shop: Shop, pages: Sequence[Article]) -> str:
    from accounts.tenancy import business_scope
    from knowledge.calibration import Example, calibrate_on
    from knowledge.snapshot import snapshot_of

    examples = [Example(page.question, True) for page in pages]
    examples += [Example(question, False) for _, question in unanswerable()]
    with business_scope(shop.business.pk):
        snapshot = snapshot_of(business_id=shop.business.pk, bot_id=None)
        assert snapshot is not None
        return str(calibrate_on(snapshot=snapshot, examples=examples))


def measure(sizes: Sequence[int], documented: int) -> None:
    from django.utils import timezone

    from accounts.tenancy import business_scope
    from knowledge.indexing import finish_training

    pages, functions = help_pages(), docstrings(documented)
    shop = build([*pages, *functions])
    rest = filler(max(sizes), apart_from=documented)
    for size in sizes:
        wanted = max(size - shop.chunks, 0)
        more = [
            (f"filler:{title}", language, title, text)
            for _, (language, title, text) in zip(range(wanted), rest, strict=False)
        ]
        indexed_s = add(shop, more)
        began = time.perf_counter()
        finish_training(business_id=shop.business.pk, now=timezone.now())
        print(
            f"\n## {shop.chunks} chunks; {indexed_s:.0f} s to index {len(more)}, "
            f"{time.perf_counter() - began:.0f} s to finish"
        )
        with business_scope(shop.business.pk):
            print("\n| questions | search | nDCG@10 | recall@10 | recall@20 | MRR |\n|---|---|---|---|---|---|")
            for name, asked in questions(shop, pages, functions).items():
                for way, rank in rankers(shop).items():
                    print(f"| {name} ({len(asked)}) | {way} | {judge(rank, asked).row()} |", flush=True)
        asked = [page.question for page in (*pages, *functions)]
        took = latency(shop, asked)
        print(f"\nquery: p50 {quantile(took, 0.5):.1f} ms, p95 {quantile(took, 0.95):.1f} ms; MB: {sizes_mb()}")
        print(f"refusals: {refusals(shop, pages)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--docstrings", type=int, default=300)
    given = parser.parse_args()
    with running_database():
        measure(given.sizes, given.docstrings)


if __name__ == "__main__":
    main()
