"""A sentence-transformer on this machine's CPU, by ONNX Runtime; made for multilingual-e5-small.

Nothing is downloaded: the folder must hold `model.onnx` and `tokenizer.json`. The two packages it needs are in
`requirements-embeddings.txt`, and are imported only when this embedder is chosen.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from knowledge.embeddings.base import Batch, EmbeddingModel, Vectors, checked
from knowledge.errors import EmbeddingRejected, EmbeddingUnavailable

MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
MAX_TOKENS: Final = 512
ROWS_AT_ONCE: Final = 16

_loading = threading.Lock()


@dataclass(frozen=True)
class LocalEmbedder:
    """Mean of the last layer over the real tokens, at length one, as the e5 models are meant to be used."""

    model: EmbeddingModel
    directory: Path
    threads: int = 1

    def embed_passages(self, batch: Batch) -> Vectors:
        texts = [self.model.passage_prefix + text for text in batch.texts]
        parts = [self._run(texts[at : at + ROWS_AT_ONCE]) for at in range(0, len(texts), ROWS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.model.dimensions), dtype=np.float32)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._run([self.model.query_prefix + text])[0]
        return vector

    def missing_files(self) -> list[str]:
        return [name for name in (MODEL_FILE, TOKENIZER_FILE) if not (self.directory / name).is_file()]

    def _run(self, texts: list[str]) -> Vectors:
        with _loading:
            tokenizer, session = self._tokenizer, self._session
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([item.ids for item in encoded], dtype=np.int64)
        mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {item.name for item in session.get_inputs()}
        states = session.run(None, {name: value for name, value in given.items() if name in wanted})[0]
        return checked(_mean(states, mask), rows=len(texts), dimensions=self.model.dimensions)

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = _import("tokenizers")
        tokenizer = tokenizers.Tokenizer.from_file(str(self._file(TOKENIZER_FILE)))
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.enable_padding()
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        runtime = _import("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return runtime.InferenceSession(
            str(self._file(MODEL_FILE)), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def _file(self, name: str) -> Path:
        if not (self.directory / name).is_file():
            raise EmbeddingUnavailable(f"The folder of the local embedding model holds no {name}.")
        return self.directory / name


def _mean(states: Any, mask: Any) -> Vectors:
    """(texts, tokens, dimensions) to (texts, dimensions), padding left out."""
    if getattr(states, "ndim", 0) != 3:
        raise EmbeddingRejected("The local model's first output is not one vector per token.")
    weights = mask[:, :, np.newaxis].astype(np.float32)
    mean: Vectors = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
    return mean


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise EmbeddingUnavailable(
            f"The local embedding model needs the package {name}: pip install -r requirements-embeddings.txt"
        ) from error
