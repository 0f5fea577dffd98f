"""What Django does of OpenAI's API: it lists, and it checks and queues what `endpoint` then waits for."""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import ScopedAPIView
from accounts.choices import KeyScope
from accounts.models import Business
from accounts.principals import Principal, PrincipalKind
from chats.openai_api import catalogue, completions, embeddings, serializers
from chats.openai_api.errors import with_error
from chats.views import KeyThrottle
from mia.lib.shapes import validated


class OpenAIView(ScopedAPIView):
    """A view for programs that hold a key of a business, with errors in OpenAI's shape as well."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset({PrincipalKind.SECRET, PrincipalKind.CLIENT})
    key_scope: ClassVar[KeyScope | None] = KeyScope.V1
    throttle_classes = (KeyThrottle,)

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        response.data = with_error(response.data, response.status_code)
        return response

    @property
    def holder(self) -> Principal:
        assert self.principal is not None
        return self.principal

    def min_trust(self) -> int:
        return int(Business.objects.values_list("min_trust", flat=True).get(pk=self.business_id))


class CompletionsView(OpenAIView):
    """Answers."""

    @extend_schema(
        operation_id="v1_chat_completions",
        tags=["openai"],
        request=serializers.CompletionRequest,
        responses={200: serializers.CompletionReply},
    )
    def post(self, request: Request) -> Response:
        """Answers a conversation that the caller keeps, by a bot with its knowledge or by a model of the network."""
        fields = validated(serializers.CompletionRequest, request.data)
        ticket = completions.submit(principal=self.holder, fields=fields, now=timezone.now())
        return Response(ticket.as_dict())


class EmbeddingsView(OpenAIView):
    """Vectors."""

    @extend_schema(
        operation_id="v1_embeddings",
        tags=["openai"],
        request=serializers.EmbeddingsRequest,
        responses={200: serializers.EmbeddingsReply},
    )
    def post(self, request: Request) -> Response:
        """Turns texts into vectors of the model that the platform searches with."""
        fields = validated(serializers.EmbeddingsRequest, request.data)
        return Response(embeddings.submit(principal=self.holder, fields=fields))


class ModelsView(OpenAIView):
    """Models."""

    @extend_schema(operation_id="v1_models", tags=["openai"], responses={200: serializers.ModelsReply})
    def get(self, request: Request) -> Response:
        """The business's bots, the models that miners offer now, and the embedder."""
        models = catalogue.listed(self.holder, min_trust=self.min_trust(), now=timezone.now())
        return Response({"object": "list", "data": [model.as_dict() for model in models]})


class ModelView(OpenAIView):
    """One model."""

    @extend_schema(operation_id="v1_model", tags=["openai"], responses={200: serializers.ModelReply})
    def get(self, request: Request, model: str) -> Response:
        """Whether there is a model of this name."""
        found = catalogue.find(self.holder, model, min_trust=self.min_trust(), now=timezone.now())
        reply: dict[str, Any] = found.as_dict()
        return Response(reply)
