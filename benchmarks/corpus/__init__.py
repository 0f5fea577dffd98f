"""What retrieval is measured on: help pages of a shop in six languages, docstrings, and text to hide them among."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ("en", "de", "fr", "es", "it", "ja")
PACKAGES = ("django", "rest_framework", "numpy", "channels", "rq", "redis", "psycopg", "requests", "jwt", "daphne")
SENTENCE = re.compile(r"(?<=[.!?。])\s+")


@dataclass(frozen=True)
class Article:
    """One document and what somebody might ask to find it; `paraphrase` shares hardly a word with it."""

    key: str
    language: str
    title: str
    text: str
    question: str
    paraphrase: str = ""


def help_pages() -> list[Article]:
    return [
        Article(f"{language}:{key}", language, title, text, question, paraphrase)
        for language in LANGUAGES
        for key, title, text, question, paraphrase in _lines(f"{language}.tsv")
    ]


def unanswerable() -> list[tuple[str, str]]:
    """Language and question; no page of the shop holds the answer."""
    from knowledge.calibration import off_topic

    return off_topic(LANGUAGES)


def docstrings(limit: int, seed: int = 7) -> list[Article]:
    """Functions of installed packages: the first sentence asks, the rest is the document that must be found."""
    found = {article.question: article for path in _sources() for article in _documented(path)}
    distinct = list({article.text: article for article in found.values()}.values())
    random.Random(seed).shuffle(distinct)
    return distinct[:limit]


def filler(count: int, *, apart_from: int, seed: int = 11) -> Iterator[tuple[str, str, str]]:
    """Language, title and text of pages that answer nothing: sentences of docstrings and of Django's translations.

    The first `apart_from` docstrings are among those that must be found, so none of their sentences is used.
    """
    dice = random.Random(seed)
    others = docstrings(100_000)[apart_from:]
    pools = {"en": [sentence for article in others for sentence in SENTENCE.split(article.text)]}
    for language in ("de", "fr", "es", "it", "ja"):
        pools[language] = _translations(language)
    for number in range(count):
        language = dice.choices(list(pools), weights=[5, 1, 1, 1, 1, 1])[0]
        sentences = [dice.choice(pools[language]) for _ in range(dice.randint(6, 14))]
        yield language, f"Page {number}", " ".join(sentences)


def _lines(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (HERE / name).read_text(encoding="utf-8").splitlines() if line]


def _sources() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["purelib"])
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


def _documented(path: Path) -> Iterator[Article]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            summary, _, rest = text.partition("\n\n")
            summary, rest = " ".join(summary.split()), " ".join(rest.split())
            if len(summary.split()) >= 5 and len(rest.split()) >= 20:
                yield Article(f"doc:{path}:{node.lineno}", "en", node.name, rest[:1500], summary)


def _translations(language: str) -> list[str]:
    import django

    root = Path(django.__file__).parent
    texts: list[str] = []
    for path in sorted(root.rglob(f"locale/{language}/LC_MESSAGES/django.po")):
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            translated = "".join(re.findall(r'"(.*)"', block.partition("msgstr")[2])).replace("\\n", " ")
            if len(translated) > 20:
                texts.append(translated)
    return texts
