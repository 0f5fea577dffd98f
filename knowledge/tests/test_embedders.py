"""What every embedder promises, held against each that can run here; and what each refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from django.core.checks import Error
from django.test import override_settings

from knowledge.checks import check_embedder
from knowledge.embeddings import Batch, Embedder, EmbeddingModel
from knowledge.embeddings.base import checked
from knowledge.embeddings.hashed import HashedEmbedder
from knowledge.embeddings.local import LocalEmbedder
from knowledge.embeddings.openai import OpenAIEmbedder
from knowledge.embeddings.scripted import ScriptedEmbedder
from knowledge.errors import EmbeddingRejected, EmbeddingUnavailable

TEXTS = ["Returning a bicycle", "Was kostet der Versand?", "営業時間は九時からです", "...", ""]
Answer = Callable[[list[str]], tuple[int, Any]]


def honest(texts: list[str]) -> tuple[int, Any]:
    """What an embedding server sends, last text first: the numbers count, not the order."""
    rows = HashedEmbedder().embed_passages(Batch(texts)).tolist() if texts else []
    data = [{"index": place, "embedding": row} for place, row in enumerate(rows)]
    return 200, {"data": data[::-1]}


class EmbeddingServer:
    """An OpenAI-compatible endpoint that answers as it is told."""

    def __init__(self) -> None:
        self.answer: Answer = honest
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append({**body, "key": self.headers.get("Authorization")})
                status, reply = server.answer(body["input"])
                raw = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    running = EmbeddingServer()
    port = running.http.server_port
    with override_settings(OUTBOUND_ALLOW_PRIVATE=True, OUTBOUND_ALLOWED_PORTS=[port]):
        yield running
    running.http.shutdown()
    running.http.server_close()


def endpoint(server: EmbeddingServer, **fields: Any) -> OpenAIEmbedder:
    model = EmbeddingModel("openai", "some-model", "1", 384, **fields)
    return OpenAIEmbedder(model, server.url, "sk-test")


@pytest.fixture(params=["hashed", "scripted", "openai"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "openai":
        return endpoint(request.getfixturevalue("server"))
    return HashedEmbedder() if request.param == "hashed" else ScriptedEmbedder()


class TestEveryEmbedder:
    def test_gives_one_unit_vector_per_text_in_order(self, embedder: Embedder) -> None:
        vectors = embedder.embed_passages(Batch(TEXTS))
        assert vectors.shape == (len(TEXTS), embedder.model.dimensions)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        alone = embedder.embed_passages(Batch(TEXTS[1:2]))
        assert np.allclose(vectors[1], alone[0], atol=1e-5)

    def test_gives_the_same_vector_for_the_same_text(self, embedder: Embedder) -> None:
        once, again = embedder.embed_query(TEXTS[0]), embedder.embed_query(TEXTS[0])
        assert np.array_equal(once, again)

    def test_finds_the_text_that_shares_the_words(self, embedder: Embedder) -> None:
        vectors = embedder.embed_passages(Batch(["You may return any bicycle.", "We open at nine."]))
        nearness = vectors @ embedder.embed_query("return my bicycle")
        assert nearness[0] > nearness[1] + 0.1

    def test_takes_no_texts_at_all(self, embedder: Embedder) -> None:
        assert embedder.embed_passages(Batch([])).shape == (0, embedder.model.dimensions)

    def test_takes_more_texts_than_one_batch(self, embedder: Embedder) -> None:
        assert len(embedder.embed_passages(Batch([f"text {number}" for number in range(130)]))) == 130


class TestAnEndpoint:
    def test_is_sent_the_prefixes_and_the_key(self, server: EmbeddingServer) -> None:
        embedder = endpoint(server, query_prefix="query: ", passage_prefix="passage: ")
        embedder.embed_query("hello")
        embedder.embed_passages(Batch(["world"]))
        assert [asked["input"] for asked in server.asked] == [["query: hello"], ["passage: world"]]
        assert {asked["key"] for asked in server.asked} == {"Bearer sk-test"}

    @pytest.mark.parametrize(
        "reply",
        [
            {"data": []},
            {"data": [{"index": 0, "embedding": [1.0] * 3}]},
            {"data": [{"index": 5, "embedding": [1.0] * 384}]},
            {"data": [{"index": 0, "embedding": ["x"] * 384}]},
            {"data": [{"index": 0, "embedding": [0.0] * 384}]},
            {"vectors": []},
            [],
        ],
    )
    def test_that_sends_something_else_is_rejected(self, server: EmbeddingServer, reply: Any) -> None:
        server.answer = lambda texts: (200, reply)
        with pytest.raises(EmbeddingRejected):
            endpoint(server).embed_query("hello")

    @pytest.mark.parametrize(("status", "error"), [(401, EmbeddingRejected), (503, EmbeddingUnavailable)])
    def test_errors_say_whether_asking_again_helps(
        self, server: EmbeddingServer, status: int, error: type[Exception]
    ) -> None:
        server.answer = lambda texts: (status, {"error": "no"})
        with pytest.raises(error):
            endpoint(server).embed_query("hello")

    def test_at_a_private_address_is_not_called(self, server: EmbeddingServer) -> None:
        with override_settings(OUTBOUND_ALLOW_PRIVATE=False), pytest.raises(EmbeddingRejected):
            endpoint(server).embed_query("hello")
        assert server.asked == []


@pytest.mark.parametrize("raw", [[[float("nan")] * 3], [[1.0, 2.0]], [["a", "b", "c"]], [[1.0], [1.0, 2.0]], None])
def test_vectors_of_the_wrong_kind_never_get_past(raw: Any) -> None:
    with pytest.raises(EmbeddingRejected):
        checked(raw, rows=1, dimensions=3)


def test_a_local_model_without_its_files_says_what_it_lacks(tmp_path: Any) -> None:
    embedder = LocalEmbedder(EmbeddingModel("local", "e5", "1", 384), tmp_path)
    assert embedder.missing_files() == ["model.onnx", "tokenizer.json"]
    with pytest.raises(EmbeddingUnavailable):
        embedder.embed_query("hello")


def test_the_hashed_embedder_knows_parts_of_words_but_no_synonyms() -> None:
    query = HashedEmbedder().embed_query
    near = float(query("Rückgabefrist") @ query("die Frist der Rückgabe"))
    assert near > 0.2 > abs(float(query("bicycle") @ query("velocipede")))


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        ({"EMBEDDING_PROVIDER": "scripted", "APP_ENV": "production"}, ["knowledge.E001"]),
        ({"EMBEDDING_PROVIDER": "scripted", "APP_ENV": "test"}, []),
        ({"EMBEDDING_PROVIDER": "openai", "EMBEDDING_URL": ""}, ["knowledge.E002"]),
        ({"EMBEDDING_PROVIDER": "openai", "EMBEDDING_URL": "https://api.example/v1"}, []),
        ({"EMBEDDING_PROVIDER": "local", "EMBEDDING_MODEL_DIR": "/nowhere"}, ["knowledge.E003"]),
    ],
)
def test_a_setting_that_cannot_work_stops_the_start(chosen: dict[str, str], ids: list[str]) -> None:
    with override_settings(**chosen):
        found = check_embedder(None)
    assert [message.id for message in found] == ids
    assert all(isinstance(message, Error) for message in found)
