"""How much a business may teach, and what one fetch, one file and one page may cost."""

from __future__ import annotations

from typing import Final

MAX_URL_CHARS: Final = 2000
MAX_TEXT_CHARS: Final = 1_000_000
MAX_QUESTION_CHARS: Final = 500
MAX_ANSWER_CHARS: Final = 8_000
MAX_PAGES: Final = 5_000
MAX_CRAWL_DEPTH: Final = 20
CHUNKER_VERSION: Final = "2"
"""Rises when the same words would be cut otherwise; what another version has cut is cut anew at the next training."""
SEPARATOR: Final = " › "
"""Between the title and the headings above a chunk."""

MAX_PAGE_BYTES: Final = 5_000_000
MAX_FILE_BYTES: Final = 25_000_000
MAX_SITEMAP_BYTES: Final = 10_000_000
MAX_ROBOTS_BYTES: Final = 512_000
MAX_SITEMAPS: Final = 50
FETCH_TIMEOUT_S: Final = 20.0
MAX_CRAWL_DELAY_S: Final = 10.0

MAX_SOURCES: Final = 1_000
MAX_DOCUMENTS: Final = 50_000
MAX_STORED_BYTES: Final = 2_000_000_000
MAX_FILES_AT_ONCE: Final = 50
MAX_TRAININGS_AT_ONCE: Final = 3
"""Per business; further ones wait for their turn."""
MAX_TRAINING_ATTEMPTS: Final = 5
