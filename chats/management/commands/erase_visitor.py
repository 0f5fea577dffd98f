"""`manage.py erase_visitor`: removes everything that is kept of one visitor."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts.businesses import business_named
from chats.privacy import erase_visitor


class Command(BaseCommand):
    """Conversations, leads, ratings, receipts, unanswered questions and their vectors, and the words of jobs."""

    help = "Erases a visitor of a business, everywhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("business", help="id or name")
        parser.add_argument("visitor", help="e-mail address, phone number or session id")

    def handle(self, *args: Any, **options: Any) -> None:
        business = business_named(options["business"])
        gone = erase_visitor(business=business, identity=options["visitor"], actor=None, now=timezone.now())
        self.stdout.write(f"{gone} rows erased.")
