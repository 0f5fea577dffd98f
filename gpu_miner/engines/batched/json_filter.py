"""Answers that follow a JSON schema, with ExLlamaV2: a token filter that asks llguidance what may come next."""

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_miner.errors import EngineError
from gpu_miner.protocol import JsonObject

ANY_OBJECT: JsonObject = {"type": "object"}


def exllamav2_filter(model: Any, tokenizer: Any, eos_ids: list[int], schema: JsonObject) -> Any:
    """Raises EngineError `unsupported` without llguidance and `bad_request` for a schema it cannot follow."""
    if find_spec("llguidance") is None:
        raise EngineError("unsupported", "JSON output needs the package llguidance on this miner", retryable=True)
    from llguidance import LLMatcher

    vocabulary = _vocabulary(str(Path(tokenizer.config.model_dir) / "tokenizer.json"), tuple(eos_ids))
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema or ANY_OBJECT))
    problem = LLMatcher.validate_grammar(grammar, vocabulary)
    if problem:
        raise EngineError("bad_request", f"response_format: {problem}"[:500], retryable=False)
    return _filter_class()(model, tokenizer, vocabulary, LLMatcher(vocabulary, grammar))


@lru_cache(4)
def _vocabulary(tokenizer_json: str, eos_ids: tuple[int, ...]) -> Any:
    """Takes about a second for a large vocabulary, once."""
    from llguidance import LLTokenizer

    return LLTokenizer(Path(tokenizer_json).read_text(encoding="utf-8"), eos_token=list(eos_ids))


@lru_cache(1)
def _filter_class() -> type[Any]:
    """Made when it is needed, because its base class comes with a package that imports CUDA."""
    from exllamav2.generator.filters import ExLlamaV2Filter

    class JsonFilter(ExLlamaV2Filter):  # type: ignore[misc]  # the package has no types
        """Masks every token with which the answer would leave its schema."""

        def __init__(self, model: Any, tokenizer: Any, vocabulary: Any, matcher: Any) -> None:
            super().__init__(model, tokenizer)
            import numpy as np

            self._matcher = matcher
            self._bits = np.zeros((vocabulary.vocab_size + 31) // 32, dtype=np.int32)

        def begin(self, prefix_str: str) -> None:
            self._matcher.reset()

        def feed(self, token: Any) -> None:
            if not self._matcher.is_stopped():
                self._matcher.consume_token(int(token.item()))

        def use_background_worker(self) -> bool:
            return True

        def can_mask_logits(self) -> bool:
            return True

        def prepare_logit_mask(self) -> bool:
            from llguidance.numpy import fill_next_token_bitmask

            fill_next_token_bitmask(self._matcher, self._bits.reshape(1, -1))
            return True

        def mask_logits(self, logits: Any) -> Any:
            import numpy as np
            import torch

            allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: logits.shape[-1]]
            mask = torch.zeros(logits.shape[-1], dtype=torch.bool)
            mask[: len(allowed)] = torch.from_numpy(allowed.astype(bool))
            return logits.masked_fill(~mask.to(logits.device), float("-inf"))

    return JsonFilter
