"""What no answer may hold, whoever asked; findings are sentences, so that a failure reads as a report."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from accounts.keys import KEY_PATTERN
from mia.tests.sweep.identities import Identity
from mia.tests.sweep.rows import Watch

TOKEN: Final = re.compile(r"canary-[a-z]-[a-z0-9_.-]*[a-z0-9_]")
SECRET: Final = re.compile(r"canary-[a-z]-[a-z0-9_.]+-(key_)?(token_)?digest")
INTERNALS: Final = re.compile(
    r"Traceback|psycopg|django\.(db|core|utils)|File \"|ProgrammingError|row-level security|SELECT .* FROM"
)


@dataclass
class Judge:
    """Collects what a sweep finds."""

    watch: Watch
    findings: list[str] = field(default_factory=list)
    looked_at: int = 0

    def find(self, what: str, why: str) -> None:
        self.findings.append(f"{what}: {why}")

    def read(self, what: str, text: str, identity: Identity, *, sent: str, issues_keys: bool = False) -> None:
        """Looks for marks of others, except those that the request itself held and that may come back as an echo."""
        self.looked_at += 1
        found = set(TOKEN.findall(text.lower())) - set(TOKEN.findall(sent.lower()))
        if wrong := sorted(token for token in found if not identity.may_be_told(token) or SECRET.match(token)):
            self.find(what, f"told {', '.join(wrong)}")
        if not issues_keys and KEY_PATTERN.search(text):
            self.find(what, "told a key")
        if leak := INTERNALS.search(text):
            self.find(what, f"told of internals: {leak.group()}")

    def look_at_rows(self, what: str, *, but: str = "-") -> None:
        """Whether rows of strangers have changed; `but` begins the names of those that are no strangers here."""
        for rows in self.watch.touched():
            if not rows.startswith(but):
                self.find(what, f"changed {rows}")
