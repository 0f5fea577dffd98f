"""Lists of words by name, read from wordlists.tsv: common words and fillers by language, greetings, thanks."""

from functools import cache
from importlib.resources import files

from gpu_miner.engines.extractive.words import fold


def word_list(name: str) -> frozenset[str]:
    """The folded words of a list; empty when there is none of that name."""
    return _lists().get(name, frozenset())


@cache
def _lists() -> dict[str, frozenset[str]]:
    text = files("gpu_miner.engines.extractive").joinpath("wordlists.tsv").read_text(encoding="utf-8")
    rows = (row.split("\t") for row in text.splitlines()[1:])
    return {name: frozenset(fold(words).split()) for name, words in rows}
