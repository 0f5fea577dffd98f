"""The miners' hot lane as the OpenAPI schema shows it."""

from typing import Any, ClassVar, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import ScopedAPIView
from accounts.principals import PrincipalKind
from mia.lib.errors import NotFound
from mia.lib.lane_schema import LaneOperation
from miners.serializers import ConfigSerializer
from miners.wire import ChunksSerializer, HeartbeatSerializer, PollSerializer


class OfferSerializer(serializers.Serializer[Any]):
    """One job, offered to one miner; the fence goes back with everything that is said of it."""

    job_id = serializers.UUIDField()
    attempt = serializers.IntegerField()
    fence = serializers.CharField()
    kind = serializers.CharField()
    offer_ms = serializers.IntegerField()
    deadline_ms = serializers.IntegerField()
    model = serializers.CharField()
    messages = serializers.ListField(child=serializers.DictField())
    params = serializers.DictField()
    tools = serializers.ListField(child=serializers.DictField())
    tool_choice = serializers.JSONField()
    stream = serializers.BooleanField()
    resume_text = serializers.CharField()
    prefix_key = serializers.CharField()


class PollReplySerializer(serializers.Serializer[Any]):
    """The jobs a miner was given; the first is mirrored at the top level."""

    job_id = serializers.UUIDField(allow_null=True)
    prompt = serializers.CharField(allow_null=True)
    context = serializers.CharField(allow_null=True)  # type: ignore[assignment]
    session_id = serializers.CharField(allow_null=True)
    business_id = serializers.IntegerField(allow_null=True)
    max_tokens = serializers.IntegerField(allow_null=True)
    message = serializers.CharField()
    jobs = OfferSerializer(many=True)
    skipped = serializers.DictField(child=serializers.IntegerField())
    cancel = serializers.ListField(child=serializers.UUIDField())
    drain = serializers.BooleanField()
    pause = serializers.BooleanField()
    messages = serializers.ListField(child=serializers.CharField())
    config = ConfigSerializer(allow_null=True)


class LeaseSerializer(serializers.Serializer[Any]):
    """What became of one lease."""

    job_id = serializers.UUIDField()
    verdict = serializers.ChoiceField(["ok", "cancel", "lost"])
    lease_ms = serializers.IntegerField()


class HeartbeatReplySerializer(serializers.Serializer[Any]):
    """The platform's answer to a sign of life."""

    status = serializers.CharField()
    timestamp = serializers.DateTimeField()
    jobs = LeaseSerializer(many=True)
    drain = serializers.BooleanField()
    pause = serializers.BooleanField()
    config = ConfigSerializer(allow_null=True)


class ChunkReplySerializer(serializers.Serializer[Any]):
    """What became of one piece of text."""

    job_id = serializers.UUIDField()
    verdict = serializers.ChoiceField(["ok", "range", "cancel", "lost"])
    next_offset = serializers.IntegerField()


class ChunksReplySerializer(serializers.Serializer[Any]):
    """The platform's answer to a flush."""

    jobs = ChunkReplySerializer(many=True)
    flush_ms = serializers.IntegerField()


class LaneView(ScopedAPIView):
    """A view that only describes: the address is answered before Django sees it."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset({PrincipalKind.MINER})


POLL_ID = OpenApiParameter(
    "X-MIA-Poll", str, OpenApiParameter.HEADER, description="A repeated poll with the same id gets the same offers."
)


class NextJobView(LaneView):
    """Waits for work."""

    @extend_schema(operation_id="next_job", parameters=[PollSerializer, POLL_ID], responses=PollReplySerializer)
    def get(self, request: Request) -> Response:
        raise NotFound


class ClaimJobView(LaneView):
    """Waits for work, asked for in a body."""

    @extend_schema(
        operation_id="claim_job", parameters=[POLL_ID], request=PollSerializer, responses=PollReplySerializer
    )
    def post(self, request: Request) -> Response:
        raise NotFound


class HeartbeatView(LaneView):
    """A sign of life, which renews leases."""

    @extend_schema(operation_id="heartbeat", request=HeartbeatSerializer, responses=HeartbeatReplySerializer)
    def post(self, request: Request) -> Response:
        raise NotFound


class ChunksView(LaneView):
    """One flush of text."""

    @extend_schema(operation_id="append_job_chunks", request=ChunksSerializer, responses=ChunksReplySerializer)
    def post(self, request: Request) -> Response:
        raise NotFound


OPERATIONS: Final = (
    LaneOperation("/job/next", "GET", NextJobView),
    LaneOperation("/job/claim", "POST", ClaimJobView),
    LaneOperation("/heartbeat", "POST", HeartbeatView),
    LaneOperation("/job/chunks", "POST", ChunksView),
)
