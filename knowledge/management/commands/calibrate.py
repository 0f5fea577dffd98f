"""`manage.py calibrate`: how much evidence a business's answers need, found on its own questions."""

from __future__ import annotations

import csv
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.businesses import business_named
from accounts.tenancy import business_scope
from knowledge.calibration import Example, calibrate
from knowledge.snapshot import snapshot_of
from mia.lib.errors import InvalidRequest


class Command(BaseCommand):
    """Finds the threshold, stores it, and says what it does to questions that were held out."""

    help = "Calibrates when a business's bots say that they do not know."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("business", help="id or name")
        parser.add_argument("--bot", type=int, help="whose test sets count; without it, what every bot is taught")
        parser.add_argument("--questions", type=Path, help="TSV of more: question, then yes or no: is it answered?")

    def handle(self, *args: Any, **options: Any) -> None:
        business = business_named(options["business"])
        more = _examples(options["questions"]) if options["questions"] else []
        with business_scope(business.pk):
            snapshot = snapshot_of(business_id=business.pk, bot_id=options["bot"])
            if snapshot is None:
                raise CommandError("This business has taught its bots nothing yet.")
            try:
                found = calibrate(snapshot=snapshot, more=more, now=timezone.now())
            except InvalidRequest as error:
                raise CommandError(str(error.detail)) from error
        self.stdout.write(str(found))
        if not found.is_good:
            self.stderr.write("That is short of 90 % and 5 %: better questions, or a model of meaning, would help.")


def _examples(path: Path) -> list[Example]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if row]
    if any(len(row) != 2 or row[1] not in {"yes", "no"} for row in rows):
        raise CommandError(f"Each line of {path} is a question, a tab, and yes or no.")
    return [Example(question, verdict == "yes") for question, verdict in rows]
