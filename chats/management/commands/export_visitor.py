"""`manage.py export_visitor`: everything that is kept of one visitor, as JSON."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder

from accounts.businesses import business_named
from chats.privacy import export_visitor


class Command(BaseCommand):
    """Conversations with every message, leads, ratings, receipts and unanswered questions."""

    help = "Writes what a business keeps of a visitor."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("business", help="id or name")
        parser.add_argument("visitor", help="e-mail address, phone number or session id")

    def handle(self, *args: Any, **options: Any) -> None:
        found = export_visitor(business=business_named(options["business"]), identity=options["visitor"])
        self.stdout.write(json.dumps(found, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2))
