"""Vectors of texts, by the embedder that the platform searches with."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accounts.models import Business
from accounts.principals import Principal
from chats.access import own_business_id
from chats.openai_api.errors import ModelNotFound
from knowledge.embeddings.base import Batch, Embedder, Vectors
from knowledge.embeddings.registry import default_embedder
from knowledge.errors import EmbeddingRejected, EmbeddingUnavailable
from mia.lib.errors import InvalidRequest, Unavailable
from miners.choices import Trust
from miners.tokens import estimate_tokens

INPUT_QUERY = "query"


def submit(*, principal: Principal, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The request, checked against the embedder there is. Raises ModelNotFound, InvalidRequest."""
    model = default_embedder().model
    if fields["model"] != model.name:
        raise ModelNotFound
    if fields.get("dimensions") not in {None, model.dimensions}:
        raise InvalidRequest({"dimensions": [f"The vectors of {model.name} have {model.dimensions} numbers."]})
    business_id = own_business_id(principal)
    min_trust = Business.objects.values_list("min_trust", flat=True).get(pk=business_id)
    return {
        "business_id": business_id,
        "min_trust": min_trust,
        "texts": fields["input"],
        "is_query": fields["input_type"] == INPUT_QUERY,
        "as_base64": fields["encoding_format"] == "base64",
    }


def embed(ticket: Mapping[str, Any]) -> dict[str, Any]:
    """The reply to a request that `submit` took. Blocking: it may wait for miners. Raises Unavailable."""
    embedder, texts = default_embedder(), ticket["texts"]
    try:
        vectors = _vectors(embedder, ticket)
    except (EmbeddingUnavailable, EmbeddingRejected) as error:
        raise Unavailable("The embedder is away.") from error
    # An estimate, as the embedders of the platform count no tokens.
    tokens = sum(map(estimate_tokens, texts))
    return {
        "object": "list",
        "model": embedder.model.name,
        "data": _written_out(vectors, as_base64=ticket["as_base64"]),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vectors(embedder: Embedder, ticket: Mapping[str, Any]) -> Vectors:
    if ticket["is_query"]:
        return np.stack([embedder.embed_query(text) for text in ticket["texts"]])
    return embedder.embed_passages(Batch(ticket["texts"], ticket["business_id"], Trust(ticket["min_trust"])))


def _written_out(vectors: Vectors, *, as_base64: bool) -> Sequence[dict[str, Any]]:
    return [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector.tolist()}
        for index, vector in enumerate(vectors)
    ]


def _base64(vector: Vectors) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
