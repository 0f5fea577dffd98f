"""The miners' endpoints that neither wait nor run hot."""

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from accounts.api import TENANT_KINDS, ScopedAPIView
from accounts.principals import PrincipalKind
from mia.lib.errors import NotFound
from mia.lib.ratelimit import Bucket, BucketThrottle
from mia.lib.shapes import validated
from miners import services, wire
from miners.choices import AttemptOutcome, MinerStatus
from miners.models import Attempt, Miner
from miners.serializers import (
    OwnMinerSerializer,
    PublicMinerSerializer,
    RegisteredSerializer,
    RegistrationSerializer,
    ResultReplySerializer,
    ResultSerializer,
    StatusReplySerializer,
    StatusSerializer,
)
from miners.services import Failure, Result

REFUSALS_SHOWN = 20
MOST_MINERS_LISTED = 1000


class RegistrationThrottle(BucketThrottle):
    """Registrations per address."""

    bucket = Bucket("register_miner", rate_per_s=0.5, burst=20)


class MinerView(ScopedAPIView):
    """A view for miners; its services open their own transactions, since a refusal too leaves a trace."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset({PrincipalKind.MINER})

    def scope(self, request: Request) -> AbstractContextManager[None]:
        return nullcontext()

    @cached_property
    def miner(self) -> Miner:
        assert self.principal is not None
        return Miner.objects.get(pk=self.principal.key_id or 0)


class RegisterMinerView(ScopedAPIView):
    """A machine joins the network, or says again what it is."""

    allow_anonymous = True
    authentication_classes: Any = ()  # The key it may carry is judged with the name it registers.
    throttle_classes = (RegistrationThrottle,)

    @extend_schema(
        operation_id="register_miner",
        request=RegistrationSerializer,
        responses={200: RegisteredSerializer, 201: RegisteredSerializer},
    )
    def post(self, request: Request) -> Response:
        fields = validated(RegistrationSerializer, request.data)
        bearer = _bearer(request)
        fields["ip_address"] = BaseThrottle().get_ident(request)
        is_token = bearer.startswith(services.ENROLMENT_TAG)
        registered = services.register_miner(
            fields=fields,
            enrolment_token=fields.get("enrolment_token") or (bearer if is_token else ""),
            plain_key="" if is_token else bearer,
            is_open=settings.MINER_REGISTRATION == "open",
            now=timezone.now(),
        )
        miner = registered.miner
        is_new = bool(registered.plain_key)
        body = {
            "miner_id": miner.pk,
            "auth_key": registered.plain_key or None,
            "message": "Miner registered successfully" if is_new else "Miner updated successfully",
            "state": miner.get_trust_display(),
            "config": wire.config_body(min(miner.slots, miner.max_slots or miner.slots)),
        }
        return Response(body, status=201 if is_new else 200)


class ResultView(MinerView):
    """A miner hands in what became of a job."""

    @property
    def holder(self) -> Miner:
        """Whose key was shown, as a row of which only the id is known: the guarded statements need no more."""
        assert self.principal is not None
        return Miner(pk=self.principal.key_id)

    @extend_schema(operation_id="submit_job_result", request=ResultSerializer, responses=ResultReplySerializer)
    def post(self, request: Request) -> Response:
        data = validated(ResultSerializer, request.data)
        if data.get("miner_id") not in {None, self.holder.pk}:
            raise NotFound("There is no such miner.")
        if data.get("status", "ok") != "ok" or not data["success"]:
            return self._report_failure(data)
        accepted = services.accept_result(miner=self.holder, result=_result(data), now=timezone.now())
        body = {
            "job_id": accepted.job.pk,
            "status": accepted.job.state,
            "message": "Result submitted successfully",
            "accepted": True,
            "duplicate": accepted.duplicate,
        }
        return Response(body)

    def _report_failure(self, data: dict[str, Any]) -> Response:
        error = data.get("error") or {}
        reason = ": ".join(part for part in (error.get("code"), error.get("message")) if part)
        job = services.report_failure(
            miner=self.holder,
            job_id=data["job_id"],
            fence=data.get("fence"),
            reason=reason or "the engine failed",
            failure=_failure(data),
            now=timezone.now(),
        )
        body = {
            "job_id": job.pk,
            "status": job.state,
            "message": "Failure noted",
            "accepted": False,
            "duplicate": False,
        }
        return Response(body)


class MinerStatusView(MinerView):
    """A miner says what it is doing."""

    @extend_schema(operation_id="set_miner_status", request=StatusSerializer, responses=StatusReplySerializer)
    def post(self, request: Request, miner_id: int) -> Response:
        miner = self.miner
        if miner.pk != miner_id:
            raise NotFound("There is no such miner.")
        status = MinerStatus(validated(StatusSerializer, request.data)["status"])
        services.set_status(miner=miner, status=status, now=timezone.now())
        return Response({"miner_id": miner.pk, "status": status, "message": "Status updated successfully"})


class MinerListView(ScopedAPIView):
    """The network as anybody may see it, with a credential or without."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = TENANT_KINDS | {PrincipalKind.MINER}
    allow_anonymous = True

    @extend_schema(operation_id="list_miners", responses=PublicMinerSerializer(many=True))
    def get(self, request: Request) -> Response:
        miners = Miner.objects.known().in_public_order()[:MOST_MINERS_LISTED]
        return Response(PublicMinerSerializer(miners, many=True).data)


class OwnMinerView(MinerView):
    """A miner's own figures, and why its last refused attempts did not count."""

    @extend_schema(operation_id="get_own_miner", responses=OwnMinerSerializer)
    def get(self, request: Request) -> Response:
        miner: Any = self.miner
        with ScopedAPIView.scope(self, request):
            miner.refusals = list(
                Attempt.objects.filter(miner=miner)
                .exclude(outcome__in=[AttemptOutcome.LIVE, AttemptOutcome.ACCEPTED])
                .newest_first()[:REFUSALS_SHOWN]
            )
        miner.earnings_usd = None
        return Response(OwnMinerSerializer(miner).data)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-Api-Key", "")


def _failure(data: dict[str, Any]) -> Failure:
    if data.get("status") != "refused":
        return Failure.ERROR
    gave_way = (data.get("error") or {}).get("code") == Failure.GAVE_WAY
    return Failure.GAVE_WAY if gave_way else Failure.REFUSED


def _result(data: dict[str, Any]) -> Result:
    return Result(
        job_id=data["job_id"],
        output=data["output"],
        tokens_generated=data["tokens_generated"],
        fence=data.get("fence"),
        finish_reason=data.get("finish_reason") or "stop",
        tool_calls=data.get("tool_calls"),
        usage=dict(data.get("usage") or {}),
        timing=dict(data.get("timing") or {}),
        output_sha256=data.get("output_sha256") or "",
        model_digest=data.get("model_digest") or "",
    )
