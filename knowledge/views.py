"""The training API: one service call per view."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, ClassVar, cast
from uuid import UUID

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.api import ScopedAPIView
from accounts.choices import KeyScope
from accounts.principals import Principal, PrincipalKind
from accounts.tenancy import platform_scope
from knowledge import serializers, services
from knowledge.limits import MAX_FILE_BYTES
from knowledge.models import Source
from knowledge.storage import TICKET_HEADER, Ticket
from mia.lib.errors import Forbidden
from mia.lib.ratelimit import Bucket, BucketThrottle, take
from mia.lib.shapes import validated

Decorator = Callable[[Callable[..., Response]], Callable[..., Response]]
BUSINESS_BUCKET = Bucket("training-business", rate_per_s=20, burst=200)
BOT = OpenApiParameter("bot_id", int, description="Only what this bot learns from.")
UPLOAD_TICKET = OpenApiParameter(TICKET_HEADER, str, OpenApiParameter.HEADER, description="As init gave it.")


def operation(name: str, reply: type[Serializer[Any]], **described: Any) -> Decorator:
    """How an endpoint of training stands in the schema."""
    return extend_schema(operation_id=name, tags=["training"], responses={200: reply}, **described)


class TrainingThrottle(BucketThrottle):
    """The speed of one business."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        user: object = request.user
        if isinstance(user, Principal):
            take(BUSINESS_BUCKET, str(user.business_id)).require()
        return True


class TrainingAPIView(ScopedAPIView):
    """A view for a business's own server and dashboard; tokens that the dashboard gave to people are not enough."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset({PrincipalKind.SECRET, PrincipalKind.DASHBOARD})
    key_scope: ClassVar[KeyScope | None] = KeyScope.KNOWLEDGE
    throttle_classes = (TrainingThrottle,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        principal = self.principal
        if principal is not None and ("type" in principal.claims or "conversation_id" in principal.claims):
            raise Forbidden

    @property
    def who(self) -> str:
        return str(self.principal)


class QueueView(TrainingAPIView):
    """Training."""

    @operation("queue_training", serializers.QueueReply, request=serializers.BotRequest)
    def post(self, request: Request) -> Response:
        """Trains everything that a bot has still to learn; 409 while that bot is being trained."""
        fields = validated(serializers.BotRequest, request.data)
        job = services.queue_training(
            business_id=self.business_id, bot_id=fields.get("bot_id"), requested_by=self.who, now=timezone.now()
        )
        if job is None:
            return Response({"message": "There is nothing to train for this bot.", "job_id": None, "source_ids": []})
        return Response({"message": "Training queued", "job_id": job.pk, "source_ids": job.source_ids})


class DeleteView(TrainingAPIView):
    """Removal."""

    @operation("delete_training_source", serializers.DeleteReply, request=None)
    def delete(self, request: Request, source_id: UUID) -> Response:
        """Deletes a source with its words, vectors and file. Answers stop using it at once."""
        job = services.delete_source(
            business_id=self.business_id, source_id=source_id, requested_by=self.who, now=timezone.now()
        )
        return Response({"message": "Source was deleted successfully", "job_id": job.pk})


class SourcesView(TrainingAPIView):
    """Sources."""

    @operation("list_training_sources", serializers.SourcesReply, parameters=[BOT])
    def get(self, request: Request) -> Response:
        """What a bot, or the whole business, learns from; the newest 200."""
        bot_id = request.query_params.get("bot_id")
        sources = services.list_sources(business_id=self.business_id, bot_id=bot_id)
        return Response({"sources": serializers.SourceReply(sources, many=True).data})

    @operation("add_training_source", serializers.SourceReply, request=serializers.SourceRequest)
    def post(self, request: Request) -> Response:
        """Adds a page, a website or a text; `queue` trains it. Files come by `upload/init`."""
        fields = validated(serializers.SourceRequest, request.data)
        source = Source(business_id=self.business_id, **fields)
        services.add_source(source=source, requested_by=self.who, now=timezone.now(), train=False)
        return Response(serializers.SourceReply(source).data)


class JobView(TrainingAPIView):
    """Training jobs."""

    @operation("training_job", serializers.TrainingReply)
    def get(self, request: Request, training_job_id: UUID) -> Response:
        """How far a training has come."""
        job = services.job_of(business_id=self.business_id, job_id=training_job_id)
        return Response(serializers.TrainingReply(job).data)


class UploadInitView(TrainingAPIView):
    """Announcements of files."""

    @operation("init_training_upload", serializers.UploadInitReply, request=serializers.UploadInitRequest)
    def post(self, request: Request) -> Response:
        """Makes a source for each file, and a ticket for its upload. The same content again gives the same source."""
        fields = validated(serializers.UploadInitRequest, request.data)
        announced = services.announce_files(
            business_id=self.business_id,
            bot_id=fields.get("bot_id"),
            files=[services.Announced(**file) for file in fields["files"]],
            now=timezone.now(),
        )
        return Response({"files": [self._told(file.pk, file.source, ticket) for file, ticket in announced]})

    def _told(self, file_id: UUID, source: Source, ticket: Ticket | None) -> dict[str, Any]:
        url = ticket.url if ticket is not None else None
        return {
            "source_id": source.pk,
            "file_id": file_id,
            "status": source.status,
            "upload_url": self.request.build_absolute_uri(url) if url and url.startswith("/") else url,
            "method": "PUT",
            "headers": ticket.headers if ticket is not None else {},
        }


class UploadFinalizeView(TrainingAPIView):
    """Finished uploads."""

    @operation("finalize_training_upload", serializers.SourcesReply, request=serializers.UploadFinalizeRequest)
    def post(self, request: Request) -> Response:
        """Checks what arrived. A file that is whole and readable becomes `created`, any other `upload_failed`."""
        fields = validated(serializers.UploadFinalizeRequest, request.data)
        sources = services.finalise_files(
            business_id=self.business_id, source_ids=fields["source_ids"], now=timezone.now()
        )
        return Response({"sources": serializers.SourceReply(sources, many=True).data})


class BytesParser(BaseParser):
    """A body as it comes."""

    media_type = "*/*"

    def parse(self, stream: IO[bytes], *args: object, **kwargs: object) -> dict[str, Any]:
        return {"stream": stream}


class UploadView(ScopedAPIView):
    """Bytes of files, where they are not sent to a bucket. The ticket is the credential."""

    allow_anonymous: ClassVar[bool] = True
    authentication_classes = ()  # type: ignore[assignment]
    parser_classes = (BytesParser,)
    max_body_bytes: ClassVar[int] = MAX_FILE_BYTES

    @extend_schema(
        operation_id="upload_training_file",
        tags=["training"],
        parameters=[UPLOAD_TICKET],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={204: None},
    )
    def put(self, request: Request, file_id: UUID) -> Response:
        """Takes the bytes of an announced file."""
        ticket = request.headers.get(TICKET_HEADER, "")
        # Without a body there is nothing to parse, and no stream.
        stream = cast("dict[str, IO[bytes]]", request.data).get("stream", io.BytesIO())
        with platform_scope():
            services.receive_file(file_id=file_id, ticket=ticket, stream=stream, now=timezone.now())
        return Response(status=204)
