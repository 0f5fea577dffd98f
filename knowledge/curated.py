"""Answers that people wrote, for questions that are asked in nearly the same words: they need no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from knowledge.embeddings.hashed import HashedEmbedder
from knowledge.followups import content_words
from knowledge.models import CuratedAnswer, Document
from knowledge.retrieval import Passage

SAME_QUESTION: Final = 0.78
LOOKED_AT: Final = 5
KEY_PREFIX: Final = "qa:"


@dataclass(frozen=True)
class Match:
    """A curated answer whose question is the visitor's."""

    passage: Passage
    answer: str
    nearness: float


def first(passages: Sequence[Passage]) -> list[Passage]:
    """Curated passages go before found ones that are no better evidenced."""
    return sorted(passages, key=lambda passage: not passage.is_curated)


def match(question: str, passages: Sequence[Passage], *, language: str) -> Match | None:
    """The answer to be given as it was written, if one was written for this very question.

    None where it is in another language than the visitor's: a model then says it in theirs. Two statements, and none
    where no curated passage is near.
    """
    looked_at = [passage for passage in passages if passage.is_curated][:LOOKED_AT]
    if not looked_at or not content_words(question):
        return None
    answers = _answers(looked_at)
    best: Match | None = None
    asked = HashedEmbedder().embed_query(question)
    for passage in looked_at:
        answer = answers.get(passage.document_id)
        if answer is None or (answer.language and language and answer.language[:2] != language[:2]):
            continue
        nearness = max(
            float(asked @ HashedEmbedder().embed_query(wording))
            for wording in [answer.question, *answer.other_wordings]
        )
        if nearness >= SAME_QUESTION and (best is None or nearness > best.nearness):
            best = Match(passage, answer.answer, nearness)
    return best


def _answers(passages: Sequence[Passage]) -> dict[int, CuratedAnswer]:
    """Curated answers by the document that each became."""
    documents = Document.objects.filter(
        pk__in=[passage.document_id for passage in passages], key__startswith=KEY_PREFIX
    )
    keys = dict(documents.values_list("pk", "key"))
    ids = {pk: int(key.removeprefix(KEY_PREFIX)) for pk, key in keys.items()}
    found = CuratedAnswer.objects.in_bulk(list(ids.values()))
    return {pk: found[number] for pk, number in ids.items() if number in found}
