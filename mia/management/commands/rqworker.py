"""`manage.py rqworker`: django-rq's, that reads tasks as they are written here, as JSON, without being told."""

from argparse import ArgumentParser

from django.conf import settings
from django_rq.management.commands.rqworker import Command as RqWorker


class Command(RqWorker):
    """django-rq would unpickle what lies in Redis, which lets whoever can write there run code."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.set_defaults(serializer=settings.RQ["SERIALIZER"])
