"""Teaches a business pages and answers, as training would leave them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import uuid4

from django.utils import timezone

from accounts.tenancy import platform_scope
from knowledge import answering, gaps, snapshot, test_sets
from knowledge.answering import Asked
from knowledge.choices import Outcome, SourceKind, VersionState, search_configuration
from knowledge.indexing import finish_training, index_chunks
from knowledge.languages import detect
from knowledge.models import Chunk, CuratedAnswer, Document, ModelConfigVersion, Section, Source, TestCase, TestSet

Page = tuple[str, str, str]


def teach(business_id: int, *pages: Page, bot_id: int | None = None, kind: SourceKind = SourceKind.TEXT) -> list[Chunk]:
    """Pages of title, text and address, each of one section and one chunk, findable at once."""
    source = make_source(business_id, bot_id=bot_id, kind=kind)
    with platform_scope():
        chunks = [make_chunk(source, *page) for page in pages]
    index(business_id, chunks)
    return chunks


def teach_answer(
    business_id: int, question: str, answer: str, *, other_wordings: tuple[str, ...] = (), language: str = ""
) -> CuratedAnswer:
    source = make_source(business_id, kind=SourceKind.QA)
    with platform_scope():
        curated = CuratedAnswer.objects.create(
            business_id=business_id,
            source=source,
            question=question,
            answer=answer,
            other_wordings=list(other_wordings),
            language=language,
        )
        words = "\n".join([question, *other_wordings, answer])
        chunk = make_chunk(source, "", words, "", key=f"qa:{curated.pk}", curated=True, section=answer)
    index(business_id, [chunk])
    return curated


def make_source(business_id: int, *, bot_id: int | None = None, kind: SourceKind = SourceKind.TEXT) -> Source:
    with platform_scope():
        address = "https://shop.example/" if kind in {SourceKind.URL, SourceKind.SITEMAP} else ""
        return Source.objects.create(
            business_id=business_id, bot_id=bot_id, kind=kind, title="Help", text="x", location=address
        )


def make_chunk(
    source: Source, title: str, words: str, url: str, *, key: str = "", curated: bool = False, section: str = ""
) -> Chunk:
    language = detect(words)
    own = {"business_id": source.business_id}
    document = Document.objects.create(
        **own, source=source, key=key or words[:200], title=title, url=url, language=language, facts_at=timezone.now()
    )
    place = Section.objects.create(**own, document=document, position=0, heading=title, text=section or words)
    return Chunk.objects.create(
        **own,
        source=source,
        document=document,
        section=place,
        bot_id=source.bot_id,
        position=0,
        heading=title,
        words=words,
        language=language,
        configuration=search_configuration(language),
        curated=curated,
        content_hash=hashlib.sha256(words.encode()).hexdigest(),
    )


def index(business_id: int, chunks: list[Chunk]) -> None:
    now = timezone.now()
    index_chunks(business_id=business_id, chunk_ids=[chunk.pk for chunk in chunks], now=now)
    finish_training(business_id=business_id, now=now)
    snapshot.forget(business_id)


def leave_questions(business_id: int, bot_id: int) -> None:
    """A row in every table about questions: a receipt, an unanswered question, settings, a test set and its run."""
    now = timezone.now()
    own = {"business_id": business_id, "bot_id": bot_id}
    with platform_scope():
        config = ModelConfigVersion.objects.create(**own, number=1, state=VersionState.ACTIVE, activated_at=now)
        asked = Asked(business_id=business_id, bot_id=bot_id, question="Where is the golden helmet kept?")
        grounding = answering.ground(asked)
        assert grounding is not None
        answering.keep_receipt(
            replace(grounding, outcome=Outcome.REFUSED),
            conversation_id=None,
            job_id=uuid4(),
            prompt_hash="",
            now=now,
        )
        tests = TestSet.objects.create(**own, name="Golden")
        TestCase.objects.create(business_id=business_id, test_set=tests, question="Where is the golden helmet kept?")
        test_sets.run(test_set=tests, config=config, now=now)
    gaps.gather(business_id=business_id, now=now)
