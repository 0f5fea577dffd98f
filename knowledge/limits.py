"""How much a business may teach, and what one fetch, one file and one page may cost."""

from __future__ import annotations

from typing import Final

MAX_URL_CHARS: Final = 2000
MAX_TEXT_CHARS: Final = 1_000_000
MAX_QUESTION_CHARS: Final = 500
MAX_ANSWER_CHARS: Final = 8_000
MAX_PAGES: Final = 5_000
MAX_CRAWL_DEPTH: Final = 20
CHUNKER_VERSION: Final = "1"
"""Rises when the same words would be cut otherwise; what another version has cut is cut anew at the next training."""
