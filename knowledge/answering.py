"""The front door of retrieval for whoever answers: what to tell the model, or what to say without asking one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from knowledge import citations, curated, gaps, receipts
from knowledge.choices import Outcome, ReceiptKind
from knowledge.citations import Checked, Citation, Source
from knowledge.followups import content_words, standing_alone
from knowledge.languages import detect
from knowledge.models import RetrievalLog
from knowledge.refusals import refusal
from knowledge.retrieval import Found, Passage, retrieve
from knowledge.snapshot import AnswerSettings, Snapshot, snapshot_of

__all__ = ["Asked", "Grounding", "conclude", "ground"]

# Fewer words than this with a meaning of their own are a greeting or a thank-you more often than a question.
FEWEST_WORDS: Final = 1
FACTS_COVERAGE: Final = 0.5
# A passage with less of the best one's evidence is about something else.
RELEVANT_SHARE: Final = 0.3
WITHOUT_MEANING: Final = frozenset({"hashed", "scripted"})


@dataclass(frozen=True)
class Asked:
    """A question and the talk around it; `earlier` are the visitor's messages before, oldest first.

    `answering` takes the place of the bot's settings, to see what others would bring.
    """

    business_id: int
    bot_id: int | None
    question: str
    earlier: Sequence[str] = ()
    facts: str = ""
    languages: Sequence[str] = ()
    may_refuse: bool = True
    answering: AnswerSettings | None = None


@dataclass(frozen=True)
class Grounding:
    """What was found for a question, and what follows from it."""

    asked: Asked
    found: Found
    sources: Sequence[Source]
    language: str
    outcome: Outcome
    snapshot: Snapshot
    direct: str = ""
    cited: Sequence[Citation] = field(default_factory=list)

    @property
    def context(self) -> str:
        """The numbered passages for a prompt; '' where there is nothing to tell."""
        return citations.written_out(self.sources)

    @property
    def needs_model(self) -> bool:
        return not self.direct


def ground(asked: Asked) -> Grounding | None:
    """Passages for a question, or the answer itself where no model is needed; None for a bot that was taught nothing.

    Two statements, four where a curated answer is near. Runs in the caller's scope, which must show the business.
    """
    snapshot = snapshot_of(business_id=asked.business_id, bot_id=asked.bot_id)
    if snapshot is None or not asked.question.strip():
        return None
    if asked.answering is not None:
        snapshot = replace(snapshot, answering=asked.answering)
    language = detect(asked.question, likely=_likely_language(asked, snapshot))
    found = retrieve(snapshot=snapshot, query=standing_alone(asked.question, asked.earlier))
    found = replace(found, passages=tuple(curated.first(found.passages)))
    is_foreign = _is_foreign(asked, snapshot)
    told = _in_order(_worth_telling(found, is_foreign=is_foreign))
    sources = [source_of(number, passage) for number, passage in enumerate(told, start=1)]
    plain = Grounding(asked, found, sources, language, Outcome.ANSWERED, snapshot)
    written = curated.match(asked.question, found.passages, language=language)
    if written is not None:
        cited = source_of(1, written.passage)
        return replace(plain, sources=[cited], outcome=Outcome.CURATED, direct=written.answer, cited=[cited.citation])
    if not is_foreign and _is_unknown(plain):
        answering = snapshot.answering
        words = refusal(language, text=answering.refusal_text, texts=answering.refusal_texts)
        return replace(plain, sources=[], outcome=Outcome.REFUSED, direct=words)
    return plain


def conclude(
    *, job_id: UUID, business_id: int, bot_id: int | None, answer: str, writer: Mapping[str, Any], now: datetime
) -> Checked | None:
    """Holds an answer against its passages and completes its receipt; None where the answer has none.

    Two statements for a bot that was taught something, none for others. `writer` are the receipt's fields about who
    wrote the answer. Runs in the caller's transaction, in platform scope.
    """
    if snapshot_of(business_id=business_id, bot_id=bot_id) is None:
        return None
    receipt = receipts.of_job(business_id=business_id, job_id=job_id)
    if receipt is None:
        return None
    if receipt.log.outcome != Outcome.ANSWERED:
        return Checked(answer, list(receipt.log.citations))
    checked = citations.check(answer, receipt.sources)
    receipts.complete(receipt.log, citations=checked.citations, writer=writer)
    return checked


def sources_of(*, business_id: int, job_id: UUID) -> list[Citation]:
    """What the answer of a job rests on, once it has ended; [] where it rests on nothing that was taught."""
    cited = RetrievalLog.objects.for_business(business_id).filter(job_id=job_id).values_list("citations", flat=True)
    return list(cited.first() or [])


def keep_receipt(
    grounding: Grounding, *, conversation_id: UUID | None, job_id: UUID | None, prompt_hash: str, now: datetime
) -> RetrievalLog:
    """Writes down what was found; a question without an answer is noted as one. One statement, two for a refusal."""
    log = receipts.keep(
        grounding,
        kind=ReceiptKind.CHAT,
        conversation_id=conversation_id,
        job_id=job_id,
        prompt_hash=prompt_hash,
        now=now,
    )
    if grounding.outcome == Outcome.REFUSED:
        gaps.note_unanswered(log, now=now)
    return log


def _likely_language(asked: Asked, snapshot: Snapshot) -> str:
    """For a question too short to tell: what the visitor spoke before, else what the bot or its pages speak."""
    spoken = detect(" ".join(asked.earlier))
    listed = [*asked.languages, *snapshot.languages]
    return spoken or next((language for language in listed if language), "en")


def _worth_telling(found: Found, *, is_foreign: bool) -> list[Passage]:
    """Nothing where the evidence is thin: a model makes an answer out of whatever it is shown.

    Across languages an embedder without meaning finds no evidence, whatever there is; the model reads for itself.
    """
    if is_foreign:
        return list(found.passages)
    needed = RELEVANT_SHARE * found.evidence
    return [passage for passage in found.passages if passage.evidence >= needed] if found.is_enough else []


def _in_order(passages: Sequence[Passage]) -> list[Passage]:
    """By rank, but slices of one section together and as they stand there: the first one says what it is about."""
    sections: dict[int, list[Passage]] = {}
    for passage in passages:
        sections.setdefault(passage.section_id, []).append(passage)
    return [passage for slices in sections.values() for passage in sorted(slices, key=lambda slice: slice.position)]


def _is_foreign(asked: Asked, snapshot: Snapshot) -> bool:
    """Whether the question is in a language that the pages are not in, and only words can be compared."""
    spoken = detect(asked.question)
    known = {language[:2] for language in snapshot.languages if language}
    return snapshot.model.provider in WITHOUT_MEANING and bool(spoken) and bool(known) and spoken not in known


def _is_unknown(grounding: Grounding) -> bool:
    """Whether to say so without asking a model: for a real question that neither pages nor facts speak of."""
    asked, answering = grounding.asked, grounding.snapshot.answering
    if grounding.found.is_enough or not (asked.may_refuse and answering.only_with_evidence):
        return False
    words = citations.stems(asked.question)
    if len(content_words(asked.question)) < FEWEST_WORDS or _is_small_talk(asked.question):
        return False
    known = citations.stems(asked.facts)
    return len(words & known) < FACTS_COVERAGE * len(words)


def _is_small_talk(question: str) -> bool:
    return citations.stems(question) <= SMALL_TALK


def source_of(number: int, passage: Passage) -> Source:
    title = passage.heading or passage.title
    return Source(number, passage.chunk_id, title, _address(passage), passage.text, passage.language)


def _address(passage: Passage) -> str:
    """With the place on the page, where the address is one that a browser opens."""
    if not passage.url.startswith(("https://", "http://")):
        return ""
    return passage.url + passage.anchor if passage.anchor.startswith("#") and "#" not in passage.url else passage.url


SMALL_TALK: Final = citations.stems(
    "hello hi hey hallo moin servus guten morgen tag abend good morning afternoon evening bonjour salut bonsoir hola "
    "buenos días buenas tardes noches ciao buongiorno buonasera salve olá bom dia boa tarde noite hej hoi goedemorgen "
    "cześć dzień dobry привет здравствуйте こんにちは 你好 merhaba thanks thank you danke vielen dank merci beaucoup "
    "gracias muchas grazie mille obrigado obrigada bedankt dziękuję спасибо ありがとう 谢谢 teşekkürler ok okay "
    "yes no ja nein oui non sí si bye goodbye tschüss auf wiedersehen au revoir adiós arrivederci tchau great super "
    "perfect toll human person agent mensch mitarbeiter jemanden sprechen humain conseiller parler humano hablar "
    "operatore umano somebody someone talk speak team"
)
"""Greetings, thanks, and the wish for a human: a model or a person sees to them, evidence or not."""
