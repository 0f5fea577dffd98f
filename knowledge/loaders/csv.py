"""Tables as CSV: each row as words, with the names of its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from knowledge.loaders.base import Loaded, LoadedSection, LoadError, checked, one_line, title_of
from knowledge.loaders.detection import decoded
from miners.tokens import estimate_tokens

MAX_ROWS: Final = 50_000
MAX_COLUMNS: Final = 200
MAX_CELL_CHARS: Final = 20_000
SECTION_TOKENS: Final = 300
DELIMITERS: Final = ",;\t|"


def load_csv(content: bytes, *, name: str) -> Loaded:
    csv.field_size_limit(MAX_CELL_CHARS)
    text = decoded(content)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), _dialect(text))
        header = [one_line(cell, 100) for cell in next(rows, [])]
        return checked(Loaded(title=title_of(name), sections=list(_sections(header, rows))))
    except csv.Error as error:
        raise LoadError(f"The table cannot be read: {error}.") from error


def _dialect(text: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(text[:8192], delimiters=DELIMITERS)
    except csv.Error:
        return csv.excel


def _sections(header: Sequence[str], rows: Iterator[list[str]]) -> Iterator[LoadedSection]:
    """Rows are kept whole and put together until they are worth a search."""
    if len(header) > MAX_COLUMNS:
        raise LoadError(f"The table has more than {MAX_COLUMNS} columns.")
    gathered: list[str] = []
    tokens = first = 0
    for number, row in enumerate(rows, start=2):
        if number > MAX_ROWS + 1:
            raise LoadError(f"The table has more than {MAX_ROWS:,} rows. Give it in several parts.")
        line = _as_words(header, row)
        cost = estimate_tokens(line)
        if gathered and tokens + cost > SECTION_TOKENS:
            yield LoadedSection((), "\n".join(gathered), f"row={first}")
            gathered, tokens = [], 0
        if line:
            first = first if gathered else number
            gathered.append(line)
            tokens += cost
    if gathered:
        yield LoadedSection((), "\n".join(gathered), f"row={first}")


def _as_words(header: Sequence[str], row: Sequence[str]) -> str:
    if len(row) > MAX_COLUMNS:
        raise LoadError(f"The table has more than {MAX_COLUMNS} columns.")
    names = [*header, *[""] * (len(row) - len(header))]
    cells = [(name, " ".join(cell.split())) for name, cell in zip(names, row, strict=False)]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in cells if cell)
