"""Whether the quoted sentence answers: real documentation, real questions, the whole way to the words of the reply.

usage: python -m benchmarks.answers [--show] [--only WORD]

The documentation is that of Debian's packages python3.11-doc, debian-faq, libtasn1-doc and bzip2, where they are
installed; questions about the others are left out. Each question goes through retrieval, the prompt, the `extractive`
engine and the check of citations. An answer is right where its words match the expected ones and it cites the expected
document.
"""

import argparse
import gzip
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.platform import running_database

QUESTIONS = Path(__file__).parent / "corpus" / "answers.tsv"
DOC = Path("/usr/share/doc")
PYTHON = DOC / "python3.11-doc" / "html"
PARTS = ("library", "tutorial", "faq", "howto", "glossary.html")
FILES = {
    "debian-faq.pdf": DOC / "debian" / "FAQ" / "debian-faq.en.pdf.gz",
    "libtasn1.pdf": DOC / "libtasn1-doc" / "libtasn1.pdf",
    "bzip2.pdf": DOC / "bzip2" / "manual.pdf.gz",
}
UNANSWERABLE = "-"


@dataclass(frozen=True)
class Asked:
    """A question with what a right answer cites and says."""

    corpus: str
    question: str
    source: str
    words: str

    @property
    def is_answerable(self) -> bool:
        return self.source != UNANSWERABLE


@dataclass(frozen=True)
class Told:
    """What the bot said to it."""

    asked: Asked
    reply: str
    cited: tuple[str, ...]
    found: tuple[str, ...]
    evidence: float
    seconds: float

    @property
    def is_refused(self) -> bool:
        return not self.cited

    @property
    def finds_source(self) -> bool:
        return any(re.search(self.asked.source, title) for title in self.found)

    @property
    def is_right(self) -> bool:
        if not self.asked.is_answerable:
            return self.is_refused
        cites = any(re.search(self.asked.source, title) for title in self.cited)
        return cites and bool(re.search(self.asked.words, self.reply, re.DOTALL))


def questions() -> list[Asked]:
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    return [Asked(*line.split("\t")) for line in lines if line]


def documents() -> Iterator[tuple[str, bytes]]:
    """Name and content of everything that is taught."""
    for part in PARTS:
        path = PYTHON / part
        for page in sorted(path.rglob("*.html")) if path.is_dir() else [path]:
            if page.exists():
                yield f"http://docs.test/{page.relative_to(PYTHON)}", page.read_bytes()
    for name, path in FILES.items():
        if path.exists():
            content = path.read_bytes()
            yield name, gzip.decompress(content) if path.suffix == ".gz" else content


def teach(pages: Iterator[tuple[str, bytes]]) -> Any:
    """A bot that was taught the pages; as training does it, but for the fetching."""
    from uuid import uuid4

    from django.utils import timezone

    from accounts.tenancy import platform_scope
    from accounts.tests.factories import BusinessFactory
    from chats.models import Bot
    from knowledge.indexing import finish_training, index_chunks
    from knowledge.loaders import prepare
    from knowledge.loaders.base import LoadError
    from knowledge.models import Chunk, Document, Source
    from knowledge.storing import Reading, keep

    now = timezone.now()
    with platform_scope():
        business = BusinessFactory()
        bot = Bot.objects.create(business=business, name="Docs")
        source = Source.objects.create(business_id=business.pk, kind="text", title="Documentation", text="x")
    for name, content in pages:
        try:
            prepared = prepare(content, name=name)
        except LoadError:
            continue
        url = name if name.startswith("http") else ""
        with platform_scope():
            document = Document.objects.create(business_id=business.pk, source=source, key=name, url=url)
            keep(Reading(document, uuid4(), prepared, url=url), source=source, now=now)
    with platform_scope():
        chunks = list(Chunk.objects.order_by("pk").values_list("pk", flat=True))
    for at in range(0, len(chunks), 512):
        index_chunks(business_id=business.pk, chunk_ids=chunks[at : at + 512], now=now)
    finish_training(business_id=business.pk, now=now)
    print(f"{len(chunks)} chunks")
    return bot


def tell(bot: Any, asked: Asked) -> Told:
    from accounts.tenancy import business_scope
    from chats.prompts import build_prompt, user_message
    from gpu_miner.engines.extractive.passages import material_of
    from gpu_miner.engines.extractive.reply import compose
    from knowledge import answering, citations

    began = time.perf_counter()
    with business_scope(bot.business_id):
        grounding = answering.ground(
            answering.Asked(business_id=bot.business_id, bot_id=bot.pk, question=asked.question, languages=["en"])
        )
    assert grounding is not None
    found = tuple(f"{p.url or p.title} {p.title}" for p in grounding.found.passages)
    if not grounding.needs_model:
        checked = citations.Checked(grounding.direct, [])
    else:
        question = [user_message(asked.question)]
        prompt = build_prompt(
            bot=bot, history=[], question=question, context="", max_tokens=512, sources=grounding.context
        )
        checked = citations.check(compose(material_of(prompt.messages)), grounding.sources)
    cited = tuple(f"{citation['title']} {citation['url']}" for citation in checked.citations)
    return Told(asked, checked.text, cited, found, grounding.found.evidence, time.perf_counter() - began)


def report(told: list[Told]) -> None:
    answerable = [one for one in told if one.asked.is_answerable]
    others = [one for one in told if not one.asked.is_answerable]
    print("\n| documents | questions | right document found | answered | right |\n|---|---|---|---|---|")
    for corpus in dict.fromkeys(one.asked.corpus for one in answerable):
        of = [one for one in answerable if one.asked.corpus == corpus]
        counts = (sum(one.finds_source for one in of), sum(not one.is_refused for one in of))
        print(f"| {corpus} | {len(of)} | {counts[0]} | {counts[1]} | {sum(one.is_right for one in of)} |")
    print(f"\nright: {sum(one.is_right for one in answerable)} of {len(answerable)} that the documents answer")
    print(f"refused: {sum(one.is_refused for one in others)} of {len(others)} that they do not")


def show(one: Told) -> None:
    mark = "right" if one.is_right else "WRONG"
    print(f"\n{mark}  {one.asked.question}  [{one.evidence:.2f}]\n  {one.reply}\n  {' | '.join(one.cited)}")
    if not one.is_right:
        print("  found: " + " | ".join(one.found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true", help="print every reply")
    parser.add_argument("--only", default="", help="only questions with this in them")
    given = parser.parse_args()
    with running_database():
        bot = teach(documents())
        told = [tell(bot, asked) for asked in questions() if given.only in asked.question]
        for one in told if given.show else []:
            show(one)
        report(told)


if __name__ == "__main__":
    main()
